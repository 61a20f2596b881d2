//! The timeline of one room in a sync.

use crate::error::Result;
use crate::rooms::RoomReader;
use crate::rooms::facts::Facts;
use crate::rooms::history::HistoryKey;
use crate::rooms::reader::{damaged, room_key};
use crate::rooms::record::StoredEvent;
use crate::rooms::timeline::Boundary;
use crate::rooms::visibility::Viewer;
use crate::tables;
use bytes::Bytes;
use state_res::ids::{EventKey, StateKeyId};
use state_res::tree::Root;
use std::collections::HashSet;
use std::sync::Arc;
use storage::{Position, StorageError};

/// Most rows looked at for one room's timeline.
const MAX_ROWS: usize = 5_000;

/// Most rows read forward; with more, much of the room's history has been filled in of late.
const MAX_FORWARD: usize = 600;

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
    Ok(Timeline { events, limited, prev_batch, start })
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
    let mut edge: Option<(Root, HistoryKey)> = None;
    for (count, row) in newest_first(reader, until, limit)?.enumerate() {
        let (key, value) = row?;
        if events.len() >= limit || count >= MAX_ROWS {
            limited = true;
            break;
        }
        let event = value.get(..16).and_then(|event| event.try_into().ok()).ok_or_else(|| damaged("HISTORY"))?;
        let facts = reader.required_facts(EventKey::from_bytes(event))?;
        let gap = facts.gap_before;
        let shown = viewer.may_see_at(&facts.event, &facts.standing)?;
        if hidden.outdates(&facts, shown, &events) {
            limited = true;
            break;
        }
        if shown && wanted(&facts.event)? {
            edge = Some((facts.standing.before, HistoryKey::from_bytes(key.get(16..).unwrap_or_default())));
            events.push(facts);
        }
        if gap {
            limited = true;
            break;
        }
    }
    events.reverse();
    let start = match &edge {
        None => reader.root_at(until)?,
        Some((before, _)) => *before,
    };
    let prev_batch = edge.map_or_else(|| Boundary::after_position(until), |(_, history)| Boundary::before(&history));
    Ok(Timeline { events, limited, prev_batch, start })
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

/// Rows of the room's history up to `until`, newest first. About the newest `likely` of them will be read, perhaps more.
fn newest_first(
    reader: &RoomReader,
    until: Position,
    likely: usize,
) -> Result<impl Iterator<Item = std::result::Result<(Bytes, Bytes), StorageError>> + '_> {
    let start = room_key(reader.room(), &[]);
    let end = room_key(reader.room(), &until.saturating_add(1).to_be_bytes());
    // Going back from row to row costs several times as much as going forward, which needs to know where to begin.
    let middle = match reader.before_newest(likely + 1)? {
        Some(position) if position <= until => room_key(reader.room(), &position.to_be_bytes()),
        _ => end.clone(),
    };
    let newest = if middle < end {
        reader.snapshot().scan(tables::HISTORY, &middle..&end).take(MAX_FORWARD).collect()
    } else {
        Vec::new()
    };
    let (newest, middle) = if newest.len() < MAX_FORWARD { (newest, middle) } else { (Vec::new(), end) };
    let older = std::iter::once_with(move || reader.snapshot().scan_rev(tables::HISTORY, start..middle)).flatten();
    Ok(newest.into_iter().rev().chain(older))
}
