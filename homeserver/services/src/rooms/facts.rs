//! What several tables say about one placed event, read once for all who look at it.
//!
//! Every answer to a client asks the same of each event it shows: its standing, whether history is missing before it, which
//! device sent it, whether anything relates to it. A message reaches all the people in a room within moments, so the answers are
//! kept in memory ([`Caches`](super::caches::Caches)) until one of them changes; who changes one says so there. An event without a
//! place has no facts, so that its placement changes none.

use super::reader::{RoomReader, room_key};
use super::relations;
use super::standing::Standing;
use crate::error::Result;
use crate::tables;
use bytes::Bytes;
use state_res::ids::{EventKey, UserKey};
use std::sync::Arc;
use storage::key;

/// What is known about a placed event.
#[derive(Debug)]
pub struct Facts {
    /// What we think of it.
    pub standing: Standing,
    /// Whether events before it are missing here.
    pub gap_before: bool,
    /// Whether any event relates to it.
    pub related: bool,
    /// The row of `EVENT_TRANSACTIONS`.
    transaction: Option<Bytes>,
}

impl Facts {
    /// The transaction id under which this device sent the event; `None` if it did not.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub fn transaction(&self, user: UserKey, device_id: &str) -> Result<Option<String>> {
        let Some(row) = &self.transaction else { return Ok(None) };
        let mut row = key::Reader::new(row);
        let same = row.id16()? == *user.as_bytes() && row.str()? == device_id;
        Ok(if same { Some(row.str()?) } else { None })
    }
}

impl RoomReader {
    /// What is known about an event of this room; `None` if it is not stored or has no place in the graph.
    ///
    /// For answers to clients: it can be newer than the snapshot. Who decides what to write asks [`Self::standing`].
    ///
    /// # Errors
    /// A failing store.
    pub fn facts(&self, event: EventKey) -> Result<Option<Arc<Facts>>> {
        if let Some(facts) = self.caches.facts(event) {
            return Ok(Some(facts));
        }
        let Some(standing) = self.standing(event)?.filter(|standing| !standing.is_outlier()) else { return Ok(None) };
        let facts = Arc::new(Facts {
            standing,
            gap_before: self.snapshot.get(tables::GAPS, &room_key(self.room, event.as_bytes()))?.is_some(),
            related: relations::of(self, event).next().is_some(),
            transaction: self.snapshot.get(tables::EVENT_TRANSACTIONS, event.as_bytes())?,
        });
        self.caches.put_facts(event, &facts, self.epoch);
        Ok(Some(facts))
    }
}
