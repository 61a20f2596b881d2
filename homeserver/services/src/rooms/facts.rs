//! What several tables say about one placed event, read once for all who look at it.
//!
//! Every answer to a client asks the same of each event it shows: its bytes, its standing, whether history is missing before it, which
//! device sent it, whether anything relates to it. A message reaches all the people in a room within moments, so the answers are
//! kept in memory ([`Caches`](super::caches::Caches)) until one of them changes; who changes one says so there. An event without a
//! place has no facts that are kept, so that its placement changes none.

use super::reader::{RoomReader, room_key};
use super::record::StoredEvent;
use super::relations;
use super::standing::Standing;
use crate::error::Result;
use crate::tables;
use bytes::Bytes;
use state_res::ids::{EventKey, UserKey};
use std::sync::{Arc, OnceLock};
use storage::{Position, key};

/// How much memory a processor fetches at once, in bytes.
const CACHE_LINE: usize = 64;

/// What is known about an event.
#[derive(Debug)]
pub struct Facts {
    /// The event itself.
    pub event: StoredEvent,
    /// Its `origin_server_ts`, in milliseconds.
    pub ts: i64,
    /// What we think of it.
    pub standing: Standing,
    /// Whether events before it are missing here.
    pub gap_before: bool,
    /// Whether any event relates to it.
    pub related: bool,
    /// Whether it is a state event.
    pub is_state: bool,
    /// Whether its bytes are the redacted form.
    pub is_redacted: bool,
    /// Of the user and the device in `transaction`.
    sent_by: u64,
    /// The row of `EVENT_TRANSACTIONS`.
    transaction: Option<Bytes>,
    /// The state event that it took the place of, once somebody has asked.
    replaced: OnceLock<Option<EventKey>>,
    /// Its sender's member event in the state before it, once somebody has asked.
    member: OnceLock<Option<EventKey>>,
    /// What clients get of it but for `room_id` and `unsigned`, once somebody has asked.
    common: OnceLock<Box<[u8]>>,
}

impl Facts {
    /// Of an event that was made here and is new: nothing can be missing before it, and nothing relates to it yet.
    /// `transaction` is its row of `EVENT_TRANSACTIONS`.
    #[must_use]
    pub fn of_new(event: StoredEvent, standing: Standing, transaction: Option<Bytes>) -> Self {
        Self {
            ts: event.origin_server_ts(),
            is_state: event.is_state(),
            is_redacted: event.is_redacted(),
            event,
            standing,
            gap_before: false,
            related: false,
            sent_by: sent_by(transaction.as_deref()),
            transaction,
            replaced: OnceLock::new(),
            member: OnceLock::new(),
            common: OnceLock::new(),
        }
    }

    /// The same, once the store has announced the event at this position.
    #[must_use]
    pub fn announced_at(self, position: Position) -> Self {
        Self { standing: self.standing.announced_at(position), ..self }
    }

    /// The transaction id under which this device sent the event; `None` if it did not.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub fn transaction(&self, user: UserKey, device_id: &str) -> Result<Option<String>> {
        let Some(row) = self.transaction.as_ref().filter(|_| self.sent_by == tag(user, device_id)) else {
            return Ok(None);
        };
        let mut row = key::Reader::new(row);
        let same = row.id16()? == *user.as_bytes() && row.str()? == device_id;
        Ok(if same { Some(row.str()?) } else { None })
    }

    /// The state event that this one took the place of; `None` if there was none, or if this is no state event.
    ///
    /// # Errors
    /// A failing store.
    pub fn replaced(&self, reader: &RoomReader) -> Result<Option<EventKey>> {
        if !self.is_state {
            return Ok(None);
        }
        if let Some(known) = self.replaced.get() {
            return Ok(*known);
        }
        let Some(state_key) = self.event.state_key() else { return Ok(None) };
        let found = reader.state_event_key(self.standing.before, &self.event.event_type(), &state_key)?;
        let found = found.filter(|event| *event != self.event.key());
        Ok(*self.replaced.get_or_init(|| found))
    }

    /// The member event of its sender in the state before it.
    ///
    /// # Errors
    /// A failing store.
    pub fn sender_member(&self, reader: &RoomReader) -> Result<Option<EventKey>> {
        if let Some(known) = self.member.get() {
            return Ok(*known);
        }
        let found = reader.state_event_key(self.standing.before, "m.room.member", &self.event.sender())?;
        Ok(*self.member.get_or_init(|| found))
    }

    /// By what the events of a state are sorted, where they are told.
    #[must_use]
    pub fn order_in_state(&self) -> (Position, u16, i64, EventKey) {
        let standing = &self.standing;
        (standing.position, standing.ordinal, standing.depth, self.event.key())
    }

    /// Reads a little of each part of the memory that showing the event takes, the text apart. Gives something of it.
    pub(super) fn touch(&self) -> u64 {
        self.ts as u64 ^ self.standing.position ^ self.sent_by ^ self.common.get().map_or(0, |text| text.len() as u64)
    }

    /// The same of its text.
    pub(super) fn touch_text(&self) -> u64 {
        let text = self.common.get().map_or(&[][..], |text| text);
        text.iter().step_by(CACHE_LINE).fold(0, |all, byte| all ^ u64::from(*byte))
    }

    /// The beginning of the event as all clients get it: JSON text without the closing brace, to which `unsigned` and the like are added.
    #[must_use]
    pub fn common(&self) -> &[u8] {
        self.common.get_or_init(|| {
            let mut text = Vec::with_capacity(self.event.canonical().len());
            self.event.write_common(&mut text);
            text.into_boxed_slice()
        })
    }
}

/// Short for a user's device: two of them hardly ever have the same.
fn tag(user: UserKey, device_id: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *user.as_bytes();
    // FNV-1a, beginning with the key, which is a hash already.
    device_id.bytes().fold(u64::from_be_bytes([a, b, c, d, e, f, g, h]), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The tag of a row of `EVENT_TRANSACTIONS`; 0 without one that can be read.
fn sent_by(row: Option<&[u8]>) -> u64 {
    row.and_then(|row| {
        let mut row = key::Reader::new(row);
        Some(tag(UserKey::from_bytes(row.id16().ok()?), &row.str().ok()?))
    })
    .unwrap_or(0)
}

impl RoomReader {
    /// What is known about an event of this room; `None` if it is not stored or has no place in the graph.
    ///
    /// For answers to clients: it can be newer than the snapshot. Who decides what to write asks [`Self::standing`].
    ///
    /// # Errors
    /// A failing store.
    pub fn facts(&self, event: EventKey) -> Result<Option<Arc<Facts>>> {
        Ok(self.facts_of_any(event)?.filter(|facts| !facts.standing.is_outlier()))
    }

    /// [`Self::facts`], of events without a place too (those of the state with which we joined, say).
    ///
    /// # Errors
    /// A failing store.
    pub fn facts_of_any(&self, event: EventKey) -> Result<Option<Arc<Facts>>> {
        if let Some(facts) = self.caches.facts(event)
            && facts.event.room() == self.room
        {
            return Ok(Some(facts));
        }
        let Some(standing) = self.standing(event)? else { return Ok(None) };
        let placed = !standing.is_outlier();
        let stored = self.required_stored(event)?;
        let transaction = self.snapshot.get(tables::EVENT_TRANSACTIONS, event.as_bytes())?;
        let facts = Arc::new(Facts {
            ts: stored.origin_server_ts(),
            is_state: stored.is_state(),
            is_redacted: stored.is_redacted(),
            event: stored,
            standing,
            gap_before: placed && self.snapshot.get(tables::GAPS, &room_key(self.room, event.as_bytes()))?.is_some(),
            related: relations::of(self, event).next().is_some(),
            sent_by: sent_by(transaction.as_deref()),
            transaction,
            replaced: OnceLock::new(),
            member: OnceLock::new(),
            common: OnceLock::new(),
        });
        if placed {
            self.caches.put_facts(event, &facts, self.epoch);
        }
        Ok(Some(facts))
    }

    /// [`Self::facts_of_any`] of an event that something stored refers to, so that its absence is damage.
    ///
    /// # Errors
    /// A failing store; damage.
    pub fn required_facts(&self, event: EventKey) -> Result<Arc<Facts>> {
        self.facts_of_any(event)?.ok_or_else(|| super::reader::damaged("STANDING (an event that is in use has none)"))
    }
}
