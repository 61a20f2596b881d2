//! Fetching history that a room had before we knew it, or while we were away.

use super::Peers;
use super::fetch::State;
use super::outliers::order_by;
use crate::error::{Error, Result};
use crate::rooms::history::HistoryKey;
use crate::rooms::reader::room_key;
use crate::rooms::{RoomReader, RoomWriter};
use crate::tables;
use state_res::ids::{EventKey, RoomKey};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Events asked for at a time.
const AT_A_TIME: usize = 100;
/// Servers asked before giving up.
const MAX_SERVERS: usize = 4;

/// Older events of a room as a server told us of them, checked, with all that it takes to place them.
struct Fetched {
    /// Oldest first.
    events: Vec<Pdu>,
    /// The state before those of them that follow what nobody told us of.
    before: HashMap<EventKey, State>,
}

impl Peers {
    /// Fills the gap before an event by asking servers in the room. Gives whether it is filled now; wakes nobody.
    ///
    /// # Errors
    /// A failing store. Servers that do not answer are no error.
    pub async fn backfill(&self, room_id: &str, event_id: &str) -> Result<bool> {
        let Some(version) = self.rooms.version(room_id)? else { return Ok(false) };
        let room = RoomKey::of(room_id);
        let gap = EventKey::of(event_id);
        // Whoever comes to the same gap meanwhile need not ask the same.
        let filling = Arc::clone(self.gaps.lock().get_or_insert(gap, Arc::default));
        let _turn = filling.lock().await;
        let reader = self.rooms.reader(room);
        if !is_gap(&reader, gap)? {
            return Ok(true);
        }
        let mut servers = reader.servers()?;
        servers.retain(|server| server != self.server_name());
        if let Some(pdu) = reader.pdu(gap)? {
            // Who sent the event, and who made the room, most likely know what came before it.
            let first = pdu.sender_server().to_owned();
            servers.sort_by_key(|server| *server != first);
        }
        for server in servers.iter().take(MAX_SERVERS) {
            match self.fetch_history(server, version, room_id, event_id).await {
                Ok(fetched) if fetched.events.is_empty() => {}
                Ok(fetched) => {
                    if self.place_history(room_id, gap, fetched).await? {
                        return Ok(true);
                    }
                }
                Err(error) => tracing::info!(%server, room = room_id, %error, "backfilling failed"),
            }
        }
        Ok(false)
    }

    /// Asks a server for the events before one, and for what they refer to. Nobody holds the room meanwhile.
    async fn fetch_history(
        &self,
        server: &str,
        version: RoomVersion,
        room_id: &str,
        event_id: &str,
    ) -> Result<Fetched> {
        let events = self.client.backfill(server, room_id, &[event_id], AT_A_TIME).await;
        let events = events.map_err(|error| super::remote_error(&error))?;
        let reader = self.rooms.reader(RoomKey::of(room_id));
        let mut found: BTreeMap<EventKey, Pdu> = BTreeMap::new();
        for event in self.check_all(version, room_id, events).await {
            let pdu = event.into_event();
            if !Self::is_placed(&reader, pdu.event_id())? {
                found.insert(pdu.key(), pdu);
            }
        }
        let order = order_by(&found, |pdu| pdu.prev_events());
        let mut before = HashMap::new();
        for key in &order {
            let Some(pdu) = found.get(key) else { continue };
            let reader = self.rooms.reader(reader.room());
            let fetched = async {
                let mut lacks = false;
                for id in pdu.auth_events() {
                    let key = EventKey::of(id);
                    lacks |= !found.contains_key(&key) && reader.stored(key)?.is_none();
                }
                if lacks {
                    self.fetch_auth_events(server, version, pdu).await?;
                }
                let mut lacks = false;
                for id in pdu.prev_events() {
                    lacks |= !found.contains_key(&EventKey::of(id)) && !Self::is_placed(&reader, id)?;
                }
                if lacks {
                    let state = self.fetch_state_before(server, version, room_id, pdu.event_id()).await?;
                    before.insert(*key, state);
                }
                Ok::<_, Error>(())
            };
            if let Err(error) = fetched.await {
                tracing::info!(event = pdu.event_id(), %error, "what an old event refers to cannot be had");
            }
        }
        let events = order.into_iter().filter_map(|key| found.remove(&key)).collect();
        Ok(Fetched { events, before })
    }

    /// Places older events before the one after the gap. Gives whether the gap is filled.
    async fn place_history(&self, room_id: &str, next: EventKey, fetched: Fetched) -> Result<bool> {
        let room = RoomKey::of(room_id);
        let lock = self.lock(room);
        let _turn = lock.lock().await;
        let reader = self.rooms.reader(room);
        if !is_gap(&reader, next)? {
            return Ok(true);
        }
        let Some(next_history) = reader.standing(next)?.and_then(|standing| standing.history) else { return Ok(false) };
        let previous = last_before(&reader, &next_history)?;
        let keys = HistoryKey::between(previous.as_ref(), &next_history, fetched.events.len());
        let mut placed = 0_usize;
        for (pdu, key) in fetched.events.iter().zip(keys) {
            match self.place_old(pdu, fetched.before.get(&pdu.key()), key).await {
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
            self.rooms.deps().caches.forget_events(room, &[next]);
        }
        Ok(whole)
    }

    /// Places an older event. `given` is the state before it as another server told it, for where the events before it are not here.
    async fn place_old(&self, pdu: &Pdu, given: Option<&State>, key: HistoryKey) -> Result<()> {
        self.rooms
            .write(pdu.room_id(), |writer: &mut RoomWriter<'_>| {
                if writer.reader.standing(pdu.key())?.is_some_and(|standing| !standing.is_outlier()) {
                    return Ok(());
                }
                let mut given = given;
                if given.is_some() {
                    let mut lacks = pdu.prev_events().is_empty();
                    for prev in pdu.prev_events() {
                        lacks |= !Self::is_placed(&writer.reader, prev)?;
                    }
                    // Somebody else may have brought them meanwhile.
                    given = given.filter(|_| lacks);
                }
                let before = match given {
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

/// Whether history is missing before an event.
fn is_gap(reader: &RoomReader, event: EventKey) -> Result<bool> {
    Ok(reader.snapshot().get(tables::GAPS, &room_key(reader.room(), event.as_bytes()))?.is_some())
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
