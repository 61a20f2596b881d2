//! Fetching history that a room had before we knew it, or while we were away.

use super::Peers;
use super::fetch::State;
use super::outliers::order_by;
use crate::error::{Error, Result};
use crate::rooms::history::HistoryKey;
use crate::rooms::reader::{damaged, room_key};
use crate::rooms::{RoomReader, RoomWriter};
use crate::tables;
use state_res::ids::{EventKey, RoomKey};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Events asked for at a time.
const AT_A_TIME: usize = 100;
/// Servers asked before giving up.
const MAX_SERVERS: usize = 4;
/// Gaps of a room that are taken into account when one of them is filled.
const MAX_GAPS: usize = 1_000;

/// Older events of a room as a server told us of them, checked, with all that it takes to place them.
struct Fetched {
    /// Oldest first.
    events: Vec<Pdu>,
    /// The state before those of them that follow what nobody told us of, or what we know by another server's word.
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
        for event in self.check_all(server, version, room_id, events).await {
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
                // Before what is here on another server's word, too: if that was wrong, nothing could follow it.
                let (mut lacks, mut is_told) = (false, !pdu.prev_events().is_empty());
                for id in pdu.prev_events() {
                    let key = EventKey::of(id);
                    let placed = reader.standing(key)?.filter(|standing| !standing.is_outlier());
                    lacks |= !found.contains_key(&key) && placed.is_none();
                    is_told &= placed.is_some_and(|standing| standing.is_told());
                }
                if lacks || is_told {
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

    /// Places older events before the one after the gap; those that come before an event which is here already, before that one. Gives whether
    /// the gap is filled.
    async fn place_history(&self, room_id: &str, next: EventKey, fetched: Fetched) -> Result<bool> {
        let room = RoomKey::of(room_id);
        let lock = self.lock(room);
        let _turn = lock.lock().await;
        let reader = self.rooms.reader(room);
        if !is_gap(&reader, next)? {
            return Ok(true);
        }
        let edges = edges(&reader, next)?;
        let Some(edge) = edges.get(&next) else { return Ok(false) };
        let mut keys: HashMap<EventKey, HistoryKey> = HashMap::new();
        for (at, events) in by_place(&edges, &edge.at, &fetched.events) {
            let previous = last_before(&reader, at)?;
            let places = HistoryKey::between(previous.as_ref(), at, events.len());
            keys.extend(events.into_iter().zip(places));
        }
        for pdu in &fetched.events {
            let Some(key) = keys.remove(&pdu.key()) else { continue };
            if let Err(error) = self.place_old(pdu, fetched.before.get(&pdu.key()), key).await {
                tracing::info!(event = pdu.event_id(), %error, "an old event could not be placed");
            }
        }
        // A gap is filled where all events before the one after it have their places now.
        let reader = self.rooms.reader(room);
        let fetched: BTreeSet<EventKey> = fetched.events.iter().map(Pdu::key).collect();
        let mut filled = Vec::new();
        for (gap, edge) in &edges {
            if *gap != next && !edge.prev_events.iter().any(|prev| fetched.contains(&EventKey::of(prev))) {
                continue;
            }
            let mut lacks = false;
            for prev in &edge.prev_events {
                lacks |= !Self::is_placed(&reader, prev)?;
            }
            if !lacks {
                filled.push(*gap);
            }
        }
        if !filled.is_empty() {
            let mut batch = storage::Batch::with_random_id(self.world());
            for gap in &filled {
                batch.delete(tables::GAPS, &room_key(room, gap.as_bytes()));
            }
            self.commit(batch).await?;
            self.rooms.deps().caches.forget_events(room, &filled);
        }
        Ok(filled.contains(&next))
    }

    /// Places an older event. `given` is the state before it as another server told it, for where the events before it are not here.
    async fn place_old(&self, pdu: &Pdu, given: Option<&State>, key: HistoryKey) -> Result<()> {
        self.rooms
            .write(pdu.room_id(), |writer: &mut RoomWriter<'_>| {
                if writer.reader.standing(pdu.key())?.is_some_and(|standing| !standing.is_outlier()) {
                    return Ok(());
                }
                let mut lacks = pdu.prev_events().is_empty();
                for prev in pdu.prev_events() {
                    lacks |= !Self::is_placed(&writer.reader, prev)?;
                }
                // Somebody else may have brought them meanwhile.
                let given = match given {
                    Some(given) if lacks || writer.is_told(pdu.key(), pdu.prev_events())? => Some(given),
                    _ => None,
                };
                let before = match given {
                    // As it is, not resolved with what we know before it: it is about this event alone, and changes nothing of the room's present.
                    Some(state) => {
                        writer.take_on_trust(pdu.key());
                        writer.root_of(state)?
                    }
                    None => super::receive::state_after_all(writer, pdu.prev_events())?,
                };
                let is_told = writer.is_told(pdu.key(), pdu.prev_events())?;
                let fate = super::judge::judge_old(writer, pdu, before, is_told)?.settled()?;
                if given.is_some() && lacks {
                    let row = room_key(writer.reader.room(), pdu.key().as_bytes());
                    writer.batch().put(tables::GAPS, &row, b"");
                }
                writer.place_old(pdu.clone(), before, fate, key.clone())
            })
            .await
            .map(|((), _)| ())
    }
}

/// An event that has its place, while some of those before it have none.
struct Edge {
    /// Its place, or the first one behind it that is in use: rejected events show in no history.
    at: HistoryKey,
    /// What it follows.
    prev_events: Vec<String>,
}

/// The event `next` and others of the room that stand behind gaps.
fn edges(reader: &RoomReader, next: EventKey) -> Result<BTreeMap<EventKey, Edge>> {
    let mut events = vec![next];
    for row in reader.snapshot().scan_prefix(tables::GAPS, &room_key(reader.room(), &[])).take(MAX_GAPS) {
        let (key, _) = row?;
        let event: [u8; 16] = key.get(16..).and_then(|event| event.try_into().ok()).ok_or_else(|| damaged("GAPS"))?;
        events.push(EventKey::from_bytes(event));
    }
    let mut edges = BTreeMap::new();
    for event in events {
        let (Some(pdu), Some(standing)) = (reader.pdu(event)?, reader.standing(event)?) else { continue };
        let Some(place) = standing.history else { continue };
        if let Some(at) = first_from(reader, &place)? {
            edges.insert(event, Edge { at, prev_events: pdu.prev_events().to_vec() });
        }
    }
    Ok(edges)
}

/// Events, given oldest first, by the place before which they belong: that of the first in the room's history of the `edges` that come after
/// them. What is at `next` comes after all of them. So nothing is placed behind what follows it, when a gap reaches back beyond an earlier one:
/// that before a second join, beyond that before the first.
fn by_place<'e>(
    edges: &'e BTreeMap<EventKey, Edge>,
    next: &'e HistoryKey,
    events: &[Pdu],
) -> BTreeMap<&'e HistoryKey, Vec<EventKey>> {
    let mut places: HashMap<EventKey, &HistoryKey> = events.iter().map(|pdu| (pdu.key(), next)).collect();
    for edge in edges.values() {
        lower(&mut places, &edge.prev_events, &edge.at);
    }
    let mut by_place: BTreeMap<&HistoryKey, Vec<EventKey>> = BTreeMap::new();
    for pdu in events.iter().rev() {
        let at = places.get(&pdu.key()).copied().unwrap_or(next);
        lower(&mut places, pdu.prev_events(), at);
        by_place.entry(at).or_default().push(pdu.key());
    }
    by_place.values_mut().for_each(|events| events.reverse());
    by_place
}

fn lower<'e>(places: &mut HashMap<EventKey, &'e HistoryKey>, events: &[String], at: &'e HistoryKey) {
    for event in events {
        if let Some(place) = places.get_mut(&EventKey::of(event)) {
            *place = at.min(*place);
        }
    }
}

/// The first key of history from `place` on.
fn first_from(reader: &RoomReader, place: &HistoryKey) -> Result<Option<HistoryKey>> {
    let start = room_key(reader.room(), place.as_bytes());
    let end = storage::key::prefix_end(reader.room().as_bytes());
    let Some(row) = reader.snapshot().scan(tables::HISTORY, start..end).next() else { return Ok(None) };
    let (key, _) = row?;
    Ok(key.strip_prefix(reader.room().as_bytes().as_slice()).map(HistoryKey::from_bytes))
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
