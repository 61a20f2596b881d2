//! The timeline of one room in a sync.

use crate::error::{Error, Result};
use crate::rooms::RoomReader;
use crate::rooms::history::HistoryKey;
use crate::rooms::reader::room_key;
use crate::rooms::record::StoredEvent;
use crate::rooms::standing::Standing;
use crate::rooms::timeline::{Boundary, has_gap_before};
use crate::rooms::visibility::Viewer;
use crate::tables;
use state_res::ids::EventKey;
use state_res::tree::Root;
use storage::Position;

/// Most rows looked at for one room's timeline.
const MAX_ROWS: usize = 5_000;

/// Events to show, oldest first.
pub(super) struct Timeline {
    /// Each with its standing.
    pub events: Vec<(StoredEvent, Standing)>,
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
    let start = room_key(reader.room(), &since.saturating_add(1).to_be_bytes());
    let end = room_key(reader.room(), &until.saturating_add(1).to_be_bytes());
    let mut events = Vec::new();
    let mut limited = false;
    let mut edge: Option<(Standing, Position, u16)> = None;
    for (count, row) in reader.snapshot().scan_rev(tables::TIMELINE, start..end).enumerate() {
        let (key, value) = row?;
        if events.len() >= limit || count >= MAX_ROWS {
            limited = true;
            break;
        }
        let (event, standing) = load(reader, &value)?;
        let (position, ordinal) = place(&key)?;
        edge = Some((standing.clone(), position, ordinal));
        if wanted(&event)? && viewer.may_see_at(&event, &standing)? {
            let gap = has_gap_before(reader, event.key())?;
            events.push((event, standing));
            if gap {
                // Events before this one are missing here: whoever wants them pages back.
                limited = true;
                break;
            }
        }
    }
    events.reverse();
    let start = match &edge {
        None => reader.root_at(until)?,
        Some((standing, _, ordinal)) if *ordinal > 0 => standing.before,
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
    let start = room_key(reader.room(), &[]);
    let end = room_key(reader.room(), &until.saturating_add(1).to_be_bytes());
    let mut events: Vec<(StoredEvent, Standing)> = Vec::new();
    let mut limited = false;
    let mut edge: Option<(Standing, HistoryKey)> = None;
    for (count, row) in reader.snapshot().scan_rev(tables::HISTORY, start..end).enumerate() {
        let (key, value) = row?;
        if events.len() >= limit || count >= MAX_ROWS {
            limited = true;
            break;
        }
        let (event, standing) = load(reader, &value)?;
        let history = HistoryKey::from_bytes(key.get(16..).unwrap_or_default());
        let gap = has_gap_before(reader, event.key())?;
        if wanted(&event)? && viewer.may_see_at(&event, &standing)? {
            edge = Some((standing.clone(), history));
            events.push((event, standing));
        }
        if gap {
            limited = true;
            break;
        }
    }
    events.reverse();
    let start = match &edge {
        None => reader.root_at(until)?,
        Some((standing, _)) => standing.before,
    };
    let prev_batch = edge.map_or_else(|| Boundary::after_position(until), |(_, history)| Boundary::before(&history));
    Ok(Timeline { events, limited, prev_batch, start })
}

fn load(reader: &RoomReader, value: &[u8]) -> Result<(StoredEvent, Standing)> {
    let damaged = || Error::internal("a row of a timeline cannot be read: the data directory is damaged");
    let key = EventKey::from_bytes(value.get(..16).and_then(|key| key.try_into().ok()).ok_or_else(damaged)?);
    let facts = reader.facts(key)?.ok_or_else(damaged)?;
    Ok((reader.required_stored(key)?, facts.standing.clone()))
}

fn place(key: &[u8]) -> Result<(Position, u16)> {
    let mut key = storage::key::Reader::new(key.get(16..).unwrap_or_default());
    Ok((key.u64()?, key.u16()?))
}
