//! The newest events of rooms and the state before them, kept in memory as a client that knows nothing of a room yet is shown them.
//!
//! A client that begins asks of all its rooms at once what they end with. To look that up event by event costs most of such an answer, so it
//! is kept together. It holds while nothing is placed in the room ([`Activity`](super::activity::Activity)), and until
//! [`Caches`](super::caches::Caches) has to forget something of the room.

use super::facts::Facts;
use super::reader::{RoomReader, damaged, room_key};
use crate::error::Result;
use crate::tables;
use bytes::Bytes;
use state_res::ids::{EventKey, StateKeyId};
use state_res::tree::{self, Root};
use std::sync::{Arc, OnceLock};
use storage::{Position, StorageError};

/// Events kept of one room: as many as clients get that do not say how many they want, and one that says that there are more.
const KEPT: usize = 21;
/// Most bytes of a room's newest events, and of its state's, that are kept.
const MOST_BYTES: usize = 48 * 1024;
/// Most entries of a state that are kept.
const MOST_STATE: usize = 64;
/// Most rows read forward; with more, much of the room's history has been filled in of late.
const MAX_FORWARD: usize = 600;

/// A state event with its key.
pub type Entry = (StateKeyId, Arc<Facts>);

/// In the order in which they are told.
type State = Vec<Entry>;

/// The newest events of a room.
pub struct Latest {
    /// As they were at this position.
    at: Position,
    /// Newest first.
    events: Vec<Arc<Facts>>,
    /// Whether the room has no others.
    whole: bool,
    /// A state, once somebody has asked; `None` for one that is too large.
    state: OnceLock<(Root, Option<State>)>,
    /// Whether a state names the room, once somebody has asked.
    named: OnceLock<(Root, bool)>,
}

/// A room's history, from its end.
pub struct NewestFirst<'r> {
    /// What is kept in memory of it.
    pub kept: Option<Arc<Latest>>,
    /// Its events.
    pub events: Box<dyn Iterator<Item = Result<Arc<Facts>>> + 'r>,
}

impl Latest {
    /// Whether it was read later than another.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        self.at > other.at
    }

    /// The events of the state `root` of this room, which `reader` reads; `None` if they are not kept.
    ///
    /// # Errors
    /// A failing store; damage.
    pub fn state(&self, reader: &RoomReader, root: Root) -> Result<Option<&[Entry]>> {
        let known = match self.state.get() {
            Some(known) => known,
            None => {
                let found = read_state(reader, root)?;
                self.state.get_or_init(|| (root, found))
            }
        };
        Ok(known.1.as_deref().filter(|_| known.0 == root))
    }

    /// Whether the state `root` of this room names it, as `find` finds out.
    ///
    /// # Errors
    /// Those of `find`.
    pub fn is_named(&self, root: Root, find: impl FnOnce() -> Result<bool>) -> Result<bool> {
        match self.named.get() {
            Some((known, named)) if *known == root => Ok(*named),
            Some(_) => find(),
            None => {
                let found = find()?;
                self.named.get_or_init(|| (root, found));
                Ok(found)
            }
        }
    }

    /// Reads through all that is about to be shown. A processor waits for pieces of memory together if none says where the next one is; while
    /// events are written one after the other, it would wait for each.
    fn touch(&self) {
        let state = self.state.get().and_then(|(_, state)| state.as_ref());
        let all = || self.events.iter().chain(state.into_iter().flatten().map(|(_, facts)| facts));
        let facts = all().fold(0, |sum, facts| sum ^ facts.touch());
        let texts = all().fold(0, |sum, facts| sum ^ facts.touch_text());
        std::hint::black_box(facts ^ texts);
    }
}

fn read_state(reader: &RoomReader, root: Root) -> Result<Option<State>> {
    let mut state = State::new();
    let mut bytes = 0;
    for entry in tree::entries(reader, root) {
        let (key, event) = entry?;
        let facts = reader.required_facts(event)?;
        bytes += facts.event.bytes().len();
        // What is known of an event without a place changes with its placement.
        if state.len() >= MOST_STATE || facts.standing.is_outlier() || bytes > MOST_BYTES {
            return Ok(None);
        }
        state.push((key, facts));
    }
    state.sort_by_key(|(_, facts)| facts.order_in_state());
    Ok(Some(state))
}

impl RoomReader {
    /// The room's history up to `until`, newest event first. About the newest `likely` will be asked for, perhaps more.
    ///
    /// # Errors
    /// A failing store; each event may have one too.
    pub fn newest_first(&self, until: Position, likely: usize) -> Result<NewestFirst<'_>> {
        let kept = if likely < KEPT && until >= self.snapshot.position() { self.latest()? } else { None };
        let Some(kept) = kept else {
            let events = Box::new(self.history_rows(until, likely)?.map(|row| self.facts_of_row(row)));
            return Ok(NewestFirst { kept: None, events });
        };
        let last = kept.events.last().and_then(|facts| facts.standing.history.as_ref());
        let older = last.filter(|_| !kept.whole).map(|last| {
            let range = room_key(self.room, &[])..room_key(self.room, last.as_bytes());
            std::iter::once_with(|| self.snapshot.scan_rev(tables::HISTORY, range)).flatten()
        });
        let older = older.into_iter().flatten().map(|row| self.facts_of_row(row));
        let newest = Arc::clone(&kept);
        let newest = (0..newest.events.len()).map(move |at| Ok(Arc::clone(&newest.events[at])));
        Ok(NewestFirst { kept: Some(kept), events: Box::new(newest.chain(older)) })
    }

    /// The newest events; `None` if they cannot be kept.
    fn latest(&self) -> Result<Option<Arc<Latest>>> {
        let at = self.snapshot.position();
        if let Some(latest) = self.caches.latest(self.room)
            && latest.at <= at
            && self.is_quiet_after(latest.at)?
        {
            latest.touch();
            return Ok(Some(latest));
        }
        let rows = self.history_rows(at, KEPT - 1)?.take(KEPT);
        // Whoever asks may not need the one that cannot be read.
        let Ok(events) = rows.map(|row| self.facts_of_row(row)).collect::<Result<Vec<_>>>() else { return Ok(None) };
        let bytes: usize = events.iter().map(|facts| facts.event.bytes().len()).sum();
        if bytes > MOST_BYTES || events.iter().any(|facts| facts.standing.history.is_none()) {
            return Ok(None);
        }
        let whole = events.len() < KEPT;
        let latest = Arc::new(Latest { at, events, whole, state: OnceLock::new(), named: OnceLock::new() });
        self.caches.put_latest(self.room, &latest, self.epoch);
        Ok(Some(latest))
    }

    fn facts_of_row(&self, row: std::result::Result<(Bytes, Bytes), StorageError>) -> Result<Arc<Facts>> {
        let (_, value) = row?;
        let event = value.get(..16).and_then(|event| event.try_into().ok()).ok_or_else(|| damaged("HISTORY"))?;
        self.required_facts(EventKey::from_bytes(event))
    }

    /// Rows of the room's history up to `until`, newest first. About the newest `likely` of them will be read, perhaps more.
    fn history_rows(
        &self,
        until: Position,
        likely: usize,
    ) -> Result<impl Iterator<Item = std::result::Result<(Bytes, Bytes), StorageError>> + '_> {
        let start = room_key(self.room, &[]);
        let end = room_key(self.room, &until.saturating_add(1).to_be_bytes());
        // Going back from row to row costs several times as much as going forward, which needs to know where to begin.
        let middle = match self.before_newest(likely + 1)? {
            Some(position) if position <= until => room_key(self.room, &position.to_be_bytes()),
            _ => end.clone(),
        };
        let newest = if middle < end {
            self.snapshot.scan(tables::HISTORY, &middle..&end).take(MAX_FORWARD).collect()
        } else {
            Vec::new()
        };
        let (newest, middle) = if newest.len() < MAX_FORWARD { (newest, middle) } else { (Vec::new(), end) };
        let older = std::iter::once_with(move || self.snapshot.scan_rev(tables::HISTORY, start..middle)).flatten();
        Ok(newest.into_iter().rev().chain(older))
    }
}
