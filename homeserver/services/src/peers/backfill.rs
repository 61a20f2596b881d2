//! Fetching history that a room had before we knew it, or while we were away.

use super::Peers;
use super::outliers::{auth_events_of, order_by};
use crate::error::Result;
use crate::rooms::history::HistoryKey;
use crate::rooms::reader::room_key;
use crate::rooms::{RoomReader, RoomWriter};
use crate::tables;
use state_res::ids::{EventKey, RoomKey};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use std::collections::{BTreeMap, HashMap};

/// Events asked for at a time.
const AT_A_TIME: usize = 100;
/// Servers asked before giving up.
const MAX_SERVERS: usize = 4;

impl Peers {
    /// Fills the gap before an event by asking servers in the room. Gives whether anything was added; wakes nobody.
    ///
    /// # Errors
    /// A failing store. Servers that do not answer are no error.
    pub async fn backfill(&self, room_id: &str, event_id: &str) -> Result<bool> {
        let Some(version) = self.rooms.version(room_id)? else { return Ok(false) };
        let room = RoomKey::of(room_id);
        let lock = self.lock(room);
        let _turn = lock.lock().await;
        let reader = self.rooms.reader(room);
        if reader.snapshot().get(tables::GAPS, &room_key(room, EventKey::of(event_id).as_bytes()))?.is_none() {
            return Ok(true);
        }
        let mut servers = reader.servers()?;
        servers.retain(|server| server != self.server_name());
        if let Some(pdu) = reader.pdu(EventKey::of(event_id))? {
            // Who sent the event, and who made the room, most likely know what came before it.
            let first = pdu.sender_server().to_owned();
            servers.sort_by_key(|server| *server != first);
        }
        for server in servers.iter().take(MAX_SERVERS) {
            let events = match self.client.backfill(server, room_id, &[event_id], AT_A_TIME).await {
                Ok(events) => events,
                Err(error) => {
                    tracing::info!(%server, room = room_id, %error, "backfilling failed");
                    continue;
                }
            };
            let checked = self.check_all(version, room_id, events).await;
            let mut found: BTreeMap<EventKey, Pdu> = BTreeMap::new();
            for event in checked {
                let pdu = event.into_event();
                if !Self::is_placed(&reader, pdu.event_id())? {
                    found.insert(pdu.key(), pdu);
                }
            }
            if found.is_empty() {
                continue;
            }
            let order: Vec<Pdu> =
                order_by(&found, |pdu| pdu.prev_events()).into_iter().filter_map(|key| found.remove(&key)).collect();
            if self.place_history(server, version, room_id, event_id, order).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Places older events, oldest first, before `next_id`.
    async fn place_history(
        &self,
        server: &str,
        version: RoomVersion,
        room_id: &str,
        next_id: &str,
        order: Vec<Pdu>,
    ) -> Result<bool> {
        let room = RoomKey::of(room_id);
        let reader = self.rooms.reader(room);
        let next = EventKey::of(next_id);
        let Some(next_history) = reader.standing(next)?.and_then(|standing| standing.history) else { return Ok(false) };
        let previous = last_before(&reader, &next_history)?;
        let keys = HistoryKey::between(previous.as_ref(), &next_history, order.len());
        let mut placed = 0_usize;
        for (pdu, key) in order.iter().zip(keys) {
            match self.place_old(server, version, pdu, key).await {
                Ok(()) => placed += 1,
                Err(error) => tracing::info!(event = pdu.event_id(), %error, "an old event could not be placed"),
            }
        }
        if placed == 0 {
            return Ok(false);
        }
        // The gap before `next` is filled where all events before it have their places now.
        let reader = self.rooms.reader(room);
        let whole = match reader.pdu(next)? {
            Some(pdu) => {
                let mut whole = true;
                for prev in pdu.prev_events() {
                    whole &= Self::is_placed(&reader, prev)?;
                }
                whole
            }
            None => false,
        };
        if whole {
            let mut batch = storage::Batch::with_random_id(self.world());
            batch.delete(tables::GAPS, &room_key(room, next.as_bytes()));
            self.commit(batch).await?;
            self.rooms.deps().caches.forget_events(&[next]);
        }
        Ok(whole)
    }

    async fn place_old(&self, server: &str, version: RoomVersion, pdu: &Pdu, key: HistoryKey) -> Result<()> {
        let room_id = pdu.room_id().to_owned();
        let reader = self.rooms.reader(RoomKey::of(&room_id));
        if auth_events_of(&reader, &HashMap::new(), pdu)?.is_none() {
            self.fetch_auth_events(server, version, pdu).await?;
        }
        let mut missing = false;
        for prev in pdu.prev_events() {
            missing |= !Self::is_placed(&reader, prev)?;
        }
        let given = if missing {
            Some(self.fetch_state_before(server, version, &room_id, pdu.event_id()).await?)
        } else {
            None
        };
        self.rooms
            .write(&room_id, |writer: &mut RoomWriter<'_>| {
                if writer.reader.standing(pdu.key())?.is_some_and(|standing| !standing.is_outlier()) {
                    return Ok(());
                }
                let before = match &given {
                    Some(state) => writer.root_of(state)?,
                    None => super::receive::state_after_all(writer, pdu.prev_events())?,
                };
                let fate = super::receive::judge_old(writer, pdu, before)?;
                if given.is_some() {
                    let row = room_key(writer.reader.room(), pdu.key().as_bytes());
                    writer.batch().put(tables::GAPS, &row, b"");
                }
                writer.place_old(pdu.clone(), before, fate, key.clone())
            })
            .await
            .map(|((), _)| ())
    }
}

/// The last key of history before `next`.
fn last_before(reader: &RoomReader, next: &HistoryKey) -> Result<Option<HistoryKey>> {
    let start = room_key(reader.room(), &[]);
    let end = room_key(reader.room(), next.as_bytes());
    match reader.snapshot().scan_rev(tables::HISTORY, start..end).next() {
        None => Ok(None),
        Some(row) => Ok(row?.0.get(16..).map(HistoryKey::from_bytes)),
    }
}
