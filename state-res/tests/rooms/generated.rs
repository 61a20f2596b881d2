//! Generated rooms: graphs of events with forks, stale auth events, backdating and merges, and several states to resolve.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    rc::Rc,
    sync::Arc,
};

use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use state_res::{
    auth::{auth_types, check},
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
    resolve::{Events, resolve},
    room_version::RoomVersion,
    tree::{MemoryNodes, NodeHash, Nodes, Root, entries, insert},
};

use crate::{
    letter,
    proposals::identity_keys,
    support::{Fixture, create, pdu},
};

pub use crate::letter::State;

pub const USERS: [&str; 6] = ["@alice:a", "@bob:b", "@carol:a", "@dora:c", "@emma:b", "@fred:c"];

/// The events of a room, and the nodes of its states' trees.
#[derive(Default)]
pub struct Store {
    pub events: BTreeMap<String, Pdu>,
    by_key: BTreeMap<EventKey, Pdu>,
    pub rejected: BTreeSet<String>,
    pub nodes: MemoryNodes,
}

impl Store {
    pub fn add(&mut self, event: Pdu) {
        self.by_key.insert(event.key(), event.clone());
        self.events.insert(event.event_id().to_owned(), event);
    }

    /// The tree of a state.
    pub fn root(&mut self, state: &State) -> Root {
        let all: Vec<_> = state.iter().map(|((ty, key), id)| (StateKeyId::of(ty, key), EventKey::of(id))).collect();
        let (root, new) = insert(&self.nodes, Root::EMPTY, &all).unwrap();
        self.nodes.extend(new);
        root
    }

    /// The state of a tree.
    pub fn state(&self, root: Root) -> State {
        entries(&self.nodes, root)
            .map(|entry| {
                let (at, key) = entry.unwrap();
                let event = &self.by_key[&key];
                let place = (event.event_type().to_owned(), event.state_key().unwrap().to_owned());
                assert_eq!(StateKeyId::of(&place.0, &place.1), at);
                (place, event.event_id().to_owned())
            })
            .collect()
    }

    /// Resolves states and keeps the new nodes.
    pub fn resolve(&mut self, version: RoomVersion, states: &[State]) -> State {
        let roots: Vec<_> = states.iter().map(|state| self.root(state)).collect();
        let (root, new) = resolve(version, &roots, self).unwrap();
        self.nodes.extend(new);
        self.state(root)
    }
}

impl letter::Events for Store {
    fn event(&self, id: &str) -> Option<&Pdu> {
        self.events.get(id)
    }

    fn is_rejected(&self, id: &str) -> bool {
        self.rejected.contains(id)
    }
}

impl Nodes for Store {
    type Error = Infallible;
    type Bytes = Arc<[u8]>;

    fn node(&self, hash: &NodeHash) -> Result<Option<Arc<[u8]>>, Infallible> {
        self.nodes.node(hash)
    }
}

impl Events for Store {
    type Error = Infallible;

    fn event(&self, key: EventKey) -> Result<Option<Pdu>, Infallible> {
        Ok(self.by_key.get(&key).cloned())
    }

    fn is_rejected(&self, key: EventKey) -> Result<bool, Infallible> {
        Ok(self.by_key.get(&key).is_some_and(|event| self.rejected.contains(event.event_id())))
    }
}

/// An event in the graph and the state after it.
struct Node {
    id: String,
    depth: i64,
    after: Rc<State>,
}

/// A room and some of its states.
pub struct Room {
    pub store: Store,
    pub states: Vec<State>,
}

/// In what a room's states differ.
#[derive(Default, Clone, Copy)]
pub struct Conflicts {
    pub any: bool,
    pub power_levels: bool,
    pub bans: bool,
    pub joins: bool,
}

impl Room {
    /// The room's create event, and a state with the events themselves.
    pub fn proposals_at(&self, state: &State) -> (Fixture, Vec<Pdu>) {
        let events: Vec<Pdu> = state.values().map(|id| self.store.events[id].clone()).collect();
        let create = self.store.events.values().find(|event| event.event_type() == "m.room.create").unwrap();
        (Fixture { version: create.version(), create: create.clone() }, events)
    }

    pub fn conflicts(&self) -> Conflicts {
        let mut conflicts = Conflicts::default();
        let places: BTreeSet<_> = self.states.iter().flat_map(|state| state.keys()).collect();
        for place in places {
            let ids: BTreeSet<_> = self.states.iter().map(|state| state.get(place)).collect();
            if ids.len() < 2 {
                continue;
            }
            conflicts.any = true;
            conflicts.power_levels |= place.0 == "m.room.power_levels";
            for id in ids.into_iter().flatten() {
                let event = &self.store.events[id];
                let membership = event.content().get("membership").and_then(Value::as_str);
                conflicts.bans |= membership == Some("ban");
                conflicts.joins |= membership == Some("join");
            }
        }
        conflicts
    }
}

/// The room of a seed.
pub fn room(version: RoomVersion, seed: u64) -> Room {
    let mut generator = Generator {
        rng: ChaCha8Rng::seed_from_u64(seed),
        version,
        store: Store::default(),
        nodes: Vec::new(),
        room_id: String::new(),
    };
    generator.begin();
    let steps = generator.rng.random_range(8..40);
    for _ in 0..steps {
        generator.step();
    }
    let count = generator.rng.random_range(2..=4);
    let states = generator.latest(count).into_iter().map(|at| (*generator.nodes[at].after).clone()).collect();
    Room { store: generator.store, states }
}

struct Generator {
    rng: ChaCha8Rng,
    version: RoomVersion,
    store: Store,
    nodes: Vec<Node>,
    room_id: String,
}

impl Generator {
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *from.choose(&mut self.rng).unwrap()
    }

    fn ts(&mut self) -> i64 {
        // Few different times, so that there are ties.
        self.rng.random_range(1..12)
    }

    fn begin(&mut self) {
        let mut content = json!({});
        if self.version >= RoomVersion::V12 && self.chance(30) {
            content["additional_creators"] = json!(["@fred:c"]);
        }
        if self.chance(4) {
            content["m.federate"] = json!(false);
        }
        let mut more = json!({ "origin_server_ts": self.ts(), "nonce": self.rng.random_range(0..1 << 30) });
        if self.version.rules().references_carry_hashes() {
            more["event_id"] = json!("$create:a");
        }
        let event = create(self.version, content, more);
        self.room_id = event.room_id().to_owned();
        let state = State::from([(("m.room.create".to_owned(), String::new()), event.event_id().to_owned())]);
        self.nodes.push(Node { id: event.event_id().to_owned(), depth: 1, after: Rc::new(state) });
        self.store.add(event);

        let mut users = json!({});
        for (user, levels) in [("@bob:b", [50, 100]), ("@carol:a", [50, 50]), ("@dora:c", [0, 100])] {
            users[user] = json!(self.pick(&levels));
        }
        if self.version < RoomVersion::V12 {
            users["@alice:a"] = json!(100);
        }
        let rule = self.pick(&["public", "public", "invite", "knock", "restricted"]);
        self.act_last("m.room.member", "@alice:a", "@alice:a", json!({ "membership": "join" }));
        self.act_last("m.room.power_levels", "", "@alice:a", json!({ "users": users }));
        self.act_last("m.room.join_rules", "", "@alice:a", json!({ "join_rule": "public" }));
        let federated = self.store.events[&self.nodes[0].id].content().get("m.federate").is_none();
        for user in USERS[1..4].iter().filter(|user| federated || user.ends_with(":a")) {
            self.act_last("m.room.member", user, user, json!({ "membership": "join" }));
        }
        self.act_last("m.room.join_rules", "", "@alice:a", json!({ "join_rule": rule }));
    }

    fn act_last(&mut self, event_type: &str, state_key: &str, sender: &str, content: Value) {
        let last = self.nodes.len() - 1;
        let allowed = self.act(&[last], None, event_type, state_key, sender, content);
        assert!(allowed, "the room begins with allowed events");
    }

    /// Some of the last nodes, all different.
    fn latest(&mut self, count: usize) -> Vec<usize> {
        let mut chosen = BTreeSet::new();
        for _ in 0..count * 4 {
            if chosen.len() < count {
                let back = self.rng.random_range(0..self.nodes.len().min(9));
                chosen.insert(self.nodes.len() - 1 - back);
            }
        }
        chosen.into_iter().collect()
    }

    fn step(&mut self) {
        let parents = if self.chance(20) { 2 } else { 1 };
        let parents = self.latest(parents);
        // Whoever cannot do one thing may do another.
        for _ in 0..6 {
            let sender = self.pick(&USERS);
            let (event_type, state_key, content) = self.something(sender, &parents);
            // Where some of its auth events may be taken from, instead of the state before it.
            let stale = if self.chance(25) { Some(self.rng.random_range(0..self.nodes.len())) } else { None };
            if self.act(&parents, stale, &event_type, &state_key, sender, content) {
                return;
            }
        }
    }

    fn something(&mut self, sender: &str, parents: &[usize]) -> (String, String, Value) {
        let target = self.pick(&USERS);
        let member = |target: &str, membership: &str| {
            ("m.room.member".to_owned(), target.to_owned(), json!({ "membership": membership }))
        };
        match self.rng.random_range(0..100) {
            0..18 => {
                let mut join = member(sender, "join");
                if self.chance(60) {
                    join.2["join_authorised_via_users_server"] = json!(target);
                }
                join
            }
            18..25 => member(sender, "leave"),
            25..40 => member(target, "ban"),
            40..50 => member(target, "leave"),
            50..58 => member(target, "invite"),
            58..61 => member(sender, "knock"),
            61..70 => {
                let rule = self.pick(&["public", "invite", "knock", "restricted", "knock_restricted"]);
                ("m.room.join_rules".to_owned(), String::new(), json!({ "join_rule": rule }))
            }
            70..88 => ("m.room.power_levels".to_owned(), String::new(), self.power_levels(parents[0])),
            88..92 => ("m.room.third_party_invite".to_owned(), "t".to_owned(), self.third_party_invite()),
            92..95 => ("m.room.topic".to_owned(), String::new(), json!({ "topic": self.ts() })),
            _ => ("x".to_owned(), sender.to_owned(), json!({ "x": self.ts() })),
        }
    }

    fn third_party_invite(&mut self) -> Value {
        let key = identity_keys()[usize::from(self.chance(25))].verify_key().to_base64();
        json!({ "public_key": key })
    }

    fn power_levels(&mut self, parent: usize) -> Value {
        let place = ("m.room.power_levels".to_owned(), String::new());
        let current = self.nodes[parent].after.get(&place).map(|id| self.store.events[id].content().clone());
        let mut content = Value::Object(current.unwrap_or_default());
        let skip = usize::from(self.version >= RoomVersion::V12);
        for _ in 0..self.rng.random_range(1..3) {
            match self.rng.random_range(0..4) {
                0 => {
                    let name = self.pick(&["ban", "kick", "invite", "state_default", "users_default"]);
                    content[name] = json!(self.pick(&[0, 25, 50, 75, 100]));
                }
                1 => content["events"] = json!({ "m.room.topic": self.pick(&[0, 50, 100]) }),
                _ => {
                    // The last may be a creator, too.
                    let user = self.pick(&USERS[skip..5]);
                    content["users"][user] = json!(self.pick(&[0, 25, 50, 75, 100]));
                }
            }
        }
        content
    }

    /// Adds an event after these nodes if its auth events allow it. It is part of the state after it, unless the state
    /// before it forbids it, and sometimes even then: another server may have seen another state.
    fn act(
        &mut self,
        parents: &[usize],
        stale: Option<usize>,
        event_type: &str,
        state_key: &str,
        sender: &str,
        content: Value,
    ) -> bool {
        let before: Rc<State> = match parents {
            [only] => self.nodes[*only].after.clone(),
            several => {
                let states: Vec<State> = several.iter().map(|at| (*self.nodes[*at].after).clone()).collect();
                Rc::new(self.store.resolve(self.version, &states))
            }
        };
        let object = content.as_object().unwrap();
        let types = auth_types(self.version, event_type, sender, Some(state_key), object);
        let mut cited: Vec<String> = Vec::new();
        for (ty, key) in types {
            let place = (ty.to_owned(), key.to_owned());
            let source = match stale {
                Some(stale) if ty != "m.room.create" && self.chance(60) => &self.nodes[stale].after,
                _ => &before,
            };
            cited.extend(source.get(&place).cloned());
        }
        let depth = parents.iter().map(|at| self.nodes[*at].depth).max().unwrap_or(0) + self.pick(&[1, 1, 1, 2, 0]);
        let mut fields = json!({
            "type": event_type, "state_key": state_key, "sender": sender, "content": content, "depth": depth,
            "origin_server_ts": self.ts(), "room_id": self.room_id, "auth_events": cited,
            "prev_events": parents.iter().map(|at| self.nodes[*at].id.clone()).collect::<Vec<_>>(),
        });
        let number = self.rng.random_range(0..u64::MAX);
        if self.version.rules().references_carry_hashes() {
            fields["event_id"] = json!(format!("${number:016x}:a"));
        } else {
            fields["nonce"] = json!(format!("{number:016x}"));
        }
        let event = pdu(self.version, fields);
        let events = |ids: &mut dyn Iterator<Item = &String>| -> Vec<Pdu> {
            ids.map(|id| self.store.events[id].clone()).collect()
        };
        let mut by_auth_events = events(&mut cited.iter());
        if !self.version.rules().auth.create_in_auth_events {
            by_auth_events.push(self.store.events[&self.nodes[0].id].clone());
        }
        if check(&event, &by_auth_events).is_err() {
            return false;
        }
        let by_state = check(&event, &events(&mut before.values())).is_ok();
        let mut after = (*before).clone();
        if by_state || self.chance(30) {
            after.insert((event_type.to_owned(), state_key.to_owned()), event.event_id().to_owned());
        } else if self.chance(50) {
            self.store.rejected.insert(event.event_id().to_owned());
        }
        let rejected = self.store.rejected.contains(event.event_id());
        let id = event.event_id().to_owned();
        if rejected {
            // It can be cited all the same, by servers that saw another state.
            after.remove(&(event_type.to_owned(), state_key.to_owned()));
            if let Some(before) = before.get(&(event_type.to_owned(), state_key.to_owned())) {
                after.insert((event_type.to_owned(), state_key.to_owned()), before.clone());
            }
        }
        self.store.add(event);
        self.nodes.push(Node { id, depth, after: Rc::new(after) });
        true
    }
}
