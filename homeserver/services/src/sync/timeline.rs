//! The timeline of one room in a sync.

use crate::error::Result;
use crate::rooms::RoomReader;
use crate::rooms::facts::Facts;
use crate::rooms::history::HistoryKey;
use crate::rooms::latest::{Latest, NewestFirst};
use crate::rooms::reader::damaged;
use crate::rooms::record::StoredEvent;
use crate::rooms::timeline::Boundary;
use crate::rooms::visibility::Viewer;
use state_res::ids::StateKeyId;
use state_res::tree::Root;
use std::collections::HashSet;
use std::sync::Arc;
use storage::Position;

/// Most rows looked at for one room's timeline.
const MAX_ROWS: usize = 5_000;

/// Events to show, oldest first.
pub(super) struct Timeline {
    /// With what is known about each.
    pub events: Vec<Arc<Facts>>,
    /// Whether events between `since` and the first one are left out.
    pub limited: bool,
    /// Where paging back goes on.
    pub prev_batch: Boundary,
    /// The state just before the first event; the current state where there is none.
    pub start: Root,
    /// What is kept in memory of the room's end.
    pub kept: Option<Arc<Latest>>,
}

impl Timeline {
    /// Whether this event is among those of the timeline.
    pub(super) fn shows(&self, facts: &Arc<Facts>) -> bool {
        self.events.iter().any(|shown| Arc::ptr_eq(shown, facts) || shown.event.key() == facts.event.key())
    }
}

/// What was announced after `since` and up to `until`, newest `limit` events.
pub(super) fn since(
    reader: &RoomReader,
    viewer: &Viewer<'_>,
    wanted: &dyn Fn(&StoredEvent) -> Result<bool>,
    since: Position,
    until: Position,
    limit: usize,
) -> Result<Timeline> {
    let mut events: Vec<Arc<Facts>> = Vec::new();
    let mut limited = false;
    let mut hidden = Hidden::default();
    let mut edge: Option<(Root, Position, u16)> = None;
    for (count, row) in reader.announced(since, until)?.enumerate() {
        let row = row?;
        if events.len() >= limit || count >= MAX_ROWS {
            limited = true;
            break;
        }
        let facts = reader.required_facts(row.event)?;
        let shown = viewer.may_see_at(&facts.event, &facts.standing)?;
        if hidden.outdates(&facts, shown, &events) {
            limited = true;
            break;
        }
        edge = Some((facts.standing.before, row.position, row.ordinal));
        if shown && wanted(&facts.event)? {
            let gap = facts.gap_before;
            events.push(facts);
            if gap {
                // Events before this one are missing here: whoever wants them pages back.
                limited = true;
                break;
            }
        }
    }
    events.reverse();
    let start = match edge {
        None => reader.root_at(until)?,
        Some((before, _, ordinal)) if ordinal > 0 => before,
        Some((_, position, _)) => reader.root_at(position.saturating_sub(1))?,
    };
    let prev_batch = match edge {
        Some((_, position, ordinal)) => Boundary::before(&HistoryKey::live(position, ordinal)),
        None => Boundary::after_position(until),
    };
    Ok(Timeline { events, limited, prev_batch, start, kept: None })
}

/// The newest `limit` events that the viewer may see up to `until`: for a room that the client does not know yet.
pub(super) fn latest(
    reader: &RoomReader,
    viewer: &Viewer<'_>,
    wanted: &dyn Fn(&StoredEvent) -> Result<bool>,
    until: Position,
    limit: usize,
) -> Result<Timeline> {
    let mut events: Vec<Arc<Facts>> = Vec::new();
    let mut limited = false;
    let mut hidden = Hidden::default();
    let NewestFirst { kept, events: newest } = reader.newest_first(until, limit)?;
    for (count, facts) in newest.enumerate() {
        let facts = facts?;
        if events.len() >= limit || count >= MAX_ROWS {
            limited = true;
            break;
        }
        let gap = facts.gap_before;
        let shown = viewer.may_see_at(&facts.event, &facts.standing)?;
        if hidden.outdates(&facts, shown, &events) {
            limited = true;
            break;
        }
        if shown && wanted(&facts.event)? {
            events.push(facts);
        }
        if gap {
            limited = true;
            break;
        }
    }
    events.reverse();
    let (start, prev_batch) = match events.first().map(|first| &first.standing) {
        None => (reader.root_at(until)?, Boundary::after_position(until)),
        Some(standing) => {
            // What has no place is not in the history.
            let place = standing.history.as_ref().ok_or_else(|| damaged("STANDING"))?;
            (standing.before, Boundary::before(place))
        }
    };
    Ok(Timeline { events, limited, prev_batch, start, kept })
}

/// State that changed where the viewer may not look, as a timeline is gone through from its end.
#[derive(Default)]
struct Hidden(HashSet<StateKeyId>);

impl Hidden {
    /// Takes the next older event into account. Gives whether the viewer, who is shown it, would take it for the current state though it has
    /// been replaced out of their sight: then the timeline has to begin after it. `newer` is what they are shown so far.
    fn outdates(&mut self, facts: &Facts, shown: bool, newer: &[Arc<Facts>]) -> bool {
        if shown {
            return !self.0.is_empty() && state_key_of(facts).is_some_and(|key| self.0.contains(&key));
        }
        if facts.standing.is_accepted()
            && let Some(key) = state_key_of(facts)
            && !newer.iter().any(|newer| state_key_of(newer) == Some(key))
        {
            self.0.insert(key);
        }
        false
    }
}

fn state_key_of(facts: &Facts) -> Option<StateKeyId> {
    facts.event.state_key().map(|state_key| StateKeyId::of(&facts.event.event_type(), &state_key))
}
