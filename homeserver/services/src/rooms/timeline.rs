//! Looking back and forth in a room's history, single events and their surroundings.

use super::filter::EventFilter;
use super::head::Head;
use super::history::HistoryKey;
use super::reader::{RoomReader, room_key};
use super::record::StoredEvent;
use super::visibility::Viewer;
use crate::error::{Error, Result};
use crate::tables;
use state_res::ids::EventKey;
use std::fmt::Write as _;

/// Most events in one page.
pub const MAX_PAGE: usize = 1_000;
/// Most rows looked at for one page, so that a filter that matches nothing costs a bounded time.
const MAX_ROWS: usize = 20_000;

/// A boundary in a room's history: between what sorts before the key and what does not. Also what clients hold as `start`, `end` and
/// `prev_batch`, in the form `h` and the key in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boundary(pub Vec<u8>);

impl Boundary {
    /// Just before an event.
    #[must_use]
    pub fn before(key: &HistoryKey) -> Self {
        Self(key.as_bytes().to_vec())
    }

    /// Just after an event, before anything that is filled in behind it.
    #[must_use]
    pub fn after(key: &HistoryKey) -> Self {
        let mut bytes = key.as_bytes().to_vec();
        bytes.push(0);
        Self(bytes)
    }

    /// After everything announced up to `position`.
    #[must_use]
    pub fn after_position(position: storage::Position) -> Self {
        Self(position.saturating_add(1).to_be_bytes().to_vec())
    }

    /// The form that clients hold.
    #[must_use]
    pub fn token(&self) -> String {
        let mut text = String::with_capacity(1 + self.0.len() * 2);
        text.push('h');
        for byte in &self.0 {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Reads a token; `None` for text that is none.
    #[must_use]
    pub fn parse(token: &str) -> Option<Self> {
        let hex = token.strip_prefix('h')?;
        if !hex.len().is_multiple_of(2) || hex.len() > 400 || !hex.is_ascii() {
            return None;
        }
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok())
            .collect::<Option<_>>()
            .map(Self)
    }
}

/// Direction of paging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Towards the past.
    Backward,
    /// Towards now.
    Forward,
}

/// A page of history.
#[derive(Debug)]
pub struct Page {
    /// The events, in the direction asked for.
    pub events: Vec<StoredEvent>,
    /// Where to go on; `None` where there is nothing more.
    pub end: Option<Boundary>,
    /// Older events than these are missing here; another server may have them. The event after the gap.
    pub gap: Option<String>,
}

/// Which page is wanted.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Which way.
    pub direction: Direction,
    /// Where to begin; at the end of history without it.
    pub from: Option<&'a Boundary>,
    /// Where to stop.
    pub to: Option<&'a Boundary>,
    /// Most events.
    pub limit: usize,
    /// Which events.
    pub filter: &'a EventFilter,
    /// Whether to go past a gap right behind `from`.
    pub past_gap: bool,
}

/// A page of the events that `viewer` may see and `filter` lets pass, from `from` (exclusive of what lies beyond it), not going past
/// `to`. Stops at gaps; one right behind `from` ends the page before it begins, unless `past_gap` says to go past it.
pub fn page(reader: &RoomReader, viewer: &Viewer<'_>, wanted: &Wanted<'_>) -> Result<Page> {
    let Wanted { direction, from, to, limit, filter, past_gap } = *wanted;
    let limit = limit.clamp(1, MAX_PAGE);
    let low = room_key(reader.room(), &[]);
    let high = storage::key::prefix_end(&low);
    let (start, end) = match direction {
        Direction::Backward => (
            to.map_or_else(|| low.clone(), |to| room_key(reader.room(), &to.0)),
            from.map_or_else(|| high.clone(), |from| room_key(reader.room(), &from.0)),
        ),
        Direction::Forward => (
            from.map_or_else(|| low.clone(), |from| room_key(reader.room(), &from.0)),
            to.map_or_else(|| high.clone(), |to| room_key(reader.room(), &to.0)),
        ),
    };
    let empty = !end.is_empty() && start >= end;
    if empty || !filter.wants_room_of(reader.room()) {
        return Ok(Page { events: Vec::new(), end: None, gap: None });
    }
    if direction == Direction::Backward
        && !past_gap
        && let Some(gap) = gap_at(reader, &end)?
    {
        return Ok(Page { events: Vec::new(), end: from.cloned(), gap: Some(gap) });
    }
    // An empty end is the end of the table, which a room's prefix never reaches except for the last possible room id.
    let rows: Box<dyn Iterator<Item = _>> = match direction {
        Direction::Backward => Box::new(reader.snapshot().scan_rev(tables::HISTORY, start..end)),
        Direction::Forward => Box::new(reader.snapshot().scan(tables::HISTORY, start..end)),
    };
    let mut page = Page { events: Vec::new(), end: None, gap: None };
    for (count, row) in rows.enumerate() {
        let (key, value) = row?;
        let history = HistoryKey::from_bytes(key.get(16..).unwrap_or_default());
        let boundary = match direction {
            Direction::Backward => Boundary::before(&history),
            Direction::Forward => Boundary::after(&history),
        };
        let event = event_of(reader, &value)?;
        if direction == Direction::Backward && has_gap_before(reader, event.key())? {
            page.gap = Some(event.event_id().to_owned());
        }
        if filter.matches(reader, &event)? && viewer.may_see(&event)? {
            page.events.push(event);
        }
        if page.events.len() >= limit || count + 1 >= MAX_ROWS || page.gap.is_some() {
            page.end = Some(boundary);
            break;
        }
    }
    Ok(page)
}

/// The event at this place in history, if events before it are missing here.
fn gap_at(reader: &RoomReader, place: &[u8]) -> Result<Option<String>> {
    let end = storage::key::prefix_end(reader.room().as_bytes());
    let Some(row) = reader.snapshot().scan(tables::HISTORY, place.to_vec()..end).next() else { return Ok(None) };
    let (key, value) = row?;
    if !key.starts_with(reader.room().as_bytes()) {
        return Ok(None);
    }
    let event = event_of(reader, &value)?;
    Ok(if has_gap_before(reader, event.key())? { Some(event.event_id().to_owned()) } else { None })
}

fn event_of(reader: &RoomReader, value: &[u8]) -> Result<StoredEvent> {
    let key: [u8; 16] = value
        .get(..16)
        .and_then(|key| key.try_into().ok())
        .ok_or_else(|| Error::internal("a row of a timeline cannot be read: the data directory is damaged"))?;
    reader.required_stored(EventKey::from_bytes(key))
}

/// The event nearest to `ts` (milliseconds): the first not before it, looking forwards, or the last not after it.
pub fn nearest(
    reader: &RoomReader,
    ts: i64,
    forwards: bool,
    mut may_see: impl FnMut(&StoredEvent) -> Result<bool>,
) -> Result<Option<StoredEvent>> {
    let start = room_key(reader.room(), &[]);
    let end = storage::key::prefix_end(&start);
    let mut best: Option<StoredEvent> = None;
    for row in reader.snapshot().scan_rev(tables::HISTORY, start..end).take(MAX_ROWS) {
        let event = event_of(reader, &row?.1)?;
        let at = event.origin_server_ts();
        let beats = match (&best, forwards) {
            (_, true) if at < ts => false,
            (_, false) if at > ts => false,
            (None, _) => true,
            (Some(best), true) => at <= best.origin_server_ts(),
            (Some(best), false) => at > best.origin_server_ts(),
        };
        if beats && may_see(&event)? {
            best = Some(event);
        }
    }
    Ok(best)
}

/// Whether events before this one are missing here.
pub fn has_gap_before(reader: &RoomReader, event: EventKey) -> Result<bool> {
    Ok(reader.facts(event)?.is_some_and(|facts| facts.gap_before))
}

/// An event that `viewer` may see.
///
/// # Errors
/// 404 `M_NOT_FOUND` for one that has no place in the room's history here, or is hidden.
pub fn visible_event(reader: &RoomReader, viewer: &Viewer<'_>, event_id: &str) -> Result<(StoredEvent, HistoryKey)> {
    let missing = || Error::not_found(format!("There is no event {event_id} in this room, or you may not see it."));
    let key = EventKey::of(event_id);
    let event = reader.stored(key)?.filter(|event| event.room() == reader.room()).ok_or_else(missing)?;
    let standing = reader.standing(key)?.ok_or_else(missing)?;
    let history = standing.history.clone().ok_or_else(missing)?;
    if !viewer.may_see_at(&event, &standing)? {
        return Err(missing());
    }
    Ok((event, history))
}

/// An event of the room that the viewer may see: one of [`visible_event`], or, for who is in the room, one of its current state, which
/// may have no place in what is here of its history (after joining through another server, or a purge).
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub fn readable_event(reader: &RoomReader, viewer: &Viewer<'_>, head: &Head, event_id: &str) -> Result<StoredEvent> {
    let hidden = match visible_event(reader, viewer, event_id) {
        Ok((event, _)) => return Ok(event),
        Err(hidden) => hidden,
    };
    current_state_event(reader, viewer, head, event_id)?.ok_or(hidden)
}

/// An event of the room's current state, for who is in the room, wherever it has its place.
///
/// # Errors
/// A failing store; damage.
pub fn current_state_event(
    reader: &RoomReader,
    viewer: &Viewer<'_>,
    head: &Head,
    event_id: &str,
) -> Result<Option<StoredEvent>> {
    if viewer.is_joined()
        && let Some(event) = reader.stored(EventKey::of(event_id))?
        && event.room() == reader.room()
        && let Some(state_key) = event.state_key()
        && reader.state_event_key(head.root, &event.event_type(), &state_key)? == Some(event.key())
    {
        return Ok(Some(event));
    }
    Ok(None)
}
