//! `ruma-state-res`, fed from the store that ours reads, as a server that uses it would.
//!
//! It gets what its interface asks for, read once per resolution and as cheaply as we know how: the first state's tree a level at a
//! time and the second as what differs from it; the events of both and of their auth chains a layer at a time, in one sorted
//! `multi_get` each, parsed once, straight into what ruma wants; the chain of what the states agree on walked once for both. The map
//! of parsed events then answers all that `resolve` asks. Its answer is compared with the first state and written as the change
//! of that state's tree. The caches of nodes serve it as they serve ours.

use super::room::Room;
use super::theirs::Events;
use crate::ours::from_store;
use crate::ruma_event::RumaEvent;
use net::World;
use ruma_common::{MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId};
use ruma_events::StateEventType;
use ruma_state_res::StateMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use services::rooms::RoomReader;
use services::rooms::caches::Caches;
use services::rooms::record::StoredEvent;
use services::tables;
use state_res::ids::{EventKey, StateKeyId};
use state_res::room_version::RoomVersion;
use state_res::tree::{self, NewNodes, Nodes, Root};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use storage::Store;

/// How many rows are read at once, so that the bytes of a large room's events are not all in memory beside what they are parsed to.
const AT_ONCE: usize = 4096;

/// Resolves two states and commits the new nodes. Gives how long that took.
pub(crate) async fn resolve(
    world: &World,
    store: &Store,
    caches: &Arc<Caches>,
    room: &Room,
    roots: &[Root; 2],
    expected: Root,
) -> Duration {
    from_store(world, store, caches, room, expected, |reader| resolve_from(reader, room.version, *roots)).await
}

fn resolve_from(reader: &RoomReader, version: RoomVersion, [left, right]: [Root; 2]) -> (Root, NewNodes) {
    let mut common = state(reader, left);
    let changes = tree::diff(reader, left, right).unwrap();
    let mut conflicted = [Vec::new(), Vec::new()];
    for change in &changes {
        conflicted[0].extend(change.left);
        conflicted[1].extend(change.right);
    }
    let of_left: HashSet<&EventKey> = conflicted[0].iter().collect();
    common.retain(|event| !of_left.contains(event));

    let mut known = Stored { reader, by_key: HashMap::new(), events: Events::default() };
    known.read(common.iter().chain(conflicted.iter().flatten()).copied().collect());

    let shared: StateMap<OwnedEventId> = common.iter().map(|event| known.entry(*event)).collect();
    let chain = known.events.chain(shared.values());
    let states = [&conflicted[0], &conflicted[1]].map(|own| {
        let mut state = shared.clone();
        state.extend(own.iter().map(|event| known.entry(*event)));
        state
    });
    let chains = conflicted.iter().map(|own| {
        let mut chain = chain.clone();
        known.events.extend_chain(&mut chain, own.iter().map(|event| &known.by_key[event].event_id));
        chain
    });
    let resolved = known.events.resolve(version, &states, chains.collect());

    let mut changes = Vec::new();
    for (place, event) in &resolved {
        if states[0].get(place) != Some(event) {
            changes.push((place_id(place), Some(EventKey::of(event.as_str()))));
        }
    }
    let gone = states[0].keys().filter(|place| !resolved.contains_key(*place));
    changes.extend(gone.map(|place| (place_id(place), None)));
    tree::update(reader, left, &changes).unwrap()
}

/// The events of a state.
fn state(reader: &RoomReader, root: Root) -> Vec<EventKey> {
    let mut events = Vec::new();
    let mut level: Vec<_> = root.node().into_iter().collect();
    while !level.is_empty() {
        level.sort_unstable();
        let mut next = Vec::new();
        for some in level.chunks(AT_ONCE) {
            for node in reader.nodes(some).unwrap() {
                let node = node.unwrap();
                events.extend(tree::events(&node).unwrap());
                next.extend(tree::children(&node).unwrap());
            }
        }
        level = next;
    }
    events
}

fn place_id((event_type, state_key): &(StateEventType, String)) -> StateKeyId {
    StateKeyId::of(&event_type.to_string(), state_key)
}

/// Events read from the store.
struct Stored<'a> {
    reader: &'a RoomReader,
    by_key: HashMap<EventKey, Arc<RumaEvent>>,
    events: Events,
}

impl Stored<'_> {
    /// Reads these events and their auth chains.
    fn read(&mut self, mut wanted: BTreeSet<EventKey>) {
        while !wanted.is_empty() {
            let keys: Vec<EventKey> = std::mem::take(&mut wanted).into_iter().collect();
            for some in keys.chunks(AT_ONCE) {
                let rows: Vec<_> = some.iter().map(EventKey::as_bytes).collect();
                let rows = self.reader.snapshot().multi_get(tables::PDUS, &rows).unwrap();
                for (key, row) in some.iter().zip(rows) {
                    let event = parse(&StoredEvent::decode(*key, row.unwrap()).unwrap());
                    self.by_key.insert(*key, Arc::clone(&event));
                    self.events.0.insert(event.event_id.clone(), event);
                }
            }
            for key in keys {
                let cited = self.by_key[&key].auth_events.iter();
                wanted.extend(cited.filter(|id| !self.events.0.contains_key(*id)).map(|id| EventKey::of(id.as_str())));
            }
        }
    }

    /// An entry of a state map.
    fn entry(&self, key: EventKey) -> ((StateEventType, String), OwnedEventId) {
        let event = &self.by_key[&key];
        let event_type = StateEventType::from(event.event_type.to_string());
        ((event_type, event.state_key.clone().unwrap()), event.event_id.clone())
    }
}

/// Members of a PDU of room version 3 or newer.
#[derive(Deserialize)]
struct Fields<'a> {
    auth_events: Vec<OwnedEventId>,
    content: Box<RawValue>,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    prev_events: Vec<OwnedEventId>,
    redacts: Option<OwnedEventId>,
    room_id: Option<OwnedRoomId>,
    sender: OwnedUserId,
    state_key: Option<String>,
    #[serde(rename = "type", borrow)]
    event_type: Cow<'a, str>,
}

fn parse(stored: &StoredEvent) -> Arc<RumaEvent> {
    let fields: Fields<'_> = serde_json::from_slice(stored.canonical()).unwrap();
    Arc::new(RumaEvent {
        event_id: stored.event_id().try_into().unwrap(),
        room_id: fields.room_id,
        sender: fields.sender,
        ts: fields.origin_server_ts,
        event_type: fields.event_type.as_ref().into(),
        content: fields.content,
        state_key: fields.state_key,
        prev_events: fields.prev_events,
        auth_events: fields.auth_events,
        redacts: fields.redacts,
        rejected: false,
    })
}
