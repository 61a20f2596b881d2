//! Rooms made of bytes: graphs of events with forks, stale and wrong auth events, backdating, and states to resolve.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
};

use serde_json::{Map, Value, json};
use state_res::{
    auth::{self, Cited, auth_types},
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
    resolve::{Citing, Events, Links},
    room_version::{EventIdFormat, RoomVersion},
    tree::{MemoryNodes, NodeHash, Nodes, Root, entries, insert},
};

use super::{bytes::Bytes, letter};

pub(super) use super::letter::State;

pub(super) const USERS: [&str; 6] = ["@alice:a", "@bob:b", "@carol:a", "@dora:c", "@emma:b", "@fred:c"];

/// The most events that a room gets, so that one run stays short.
const MAX_EVENTS: usize = 48;

/// From how many of the latest events a new one goes on.
const WIDTH: usize = 6;

/// A room, and states of it.
pub(super) struct Room {
    pub(super) version: RoomVersion,
    pub(super) events: BTreeMap<String, Pdu>,
    pub(super) rejected: BTreeSet<String>,
    pub(super) states: Vec<State>,
    by_key: BTreeMap<EventKey, Pdu>,
    nodes: MemoryNodes,
    room_id: String,
    /// Which state events cite each event, and each event's generation; what a store may know or not.
    citing: BTreeMap<EventKey, BTreeSet<Citing>>,
    generations: BTreeMap<EventKey, Option<u64>>,
    /// Whether it tells.
    tells: bool,
}

impl letter::Events for Room {
    fn event(&self, id: &str) -> Option<&Pdu> {
        self.events.get(id)
    }

    fn is_rejected(&self, id: &str) -> bool {
        self.rejected.contains(id)
    }
}

/// An event, and a state after it.
struct Node {
    id: String,
    depth: usize,
    after: State,
}

impl Room {
    /// The room that these bytes make.
    pub(super) fn of(bytes: &mut Bytes<'_>) -> Self {
        let version = bytes.version();
        let mut room = Room {
            version,
            events: BTreeMap::new(),
            rejected: BTreeSet::new(),
            states: Vec::new(),
            by_key: BTreeMap::new(),
            nodes: MemoryNodes::default(),
            room_id: "!room:a".to_owned(),
            citing: BTreeMap::new(),
            generations: BTreeMap::new(),
            tells: false,
        };
        let mut nodes = room.begin(bytes);
        while !bytes.is_empty() && nodes.len() < MAX_EVENTS {
            room.step(bytes, &mut nodes);
        }
        let count = 2 + bytes.below(3);
        for _ in 0..count {
            let node = &nodes[nodes.len() - 1 - bytes.below(nodes.len().min(2 * WIDTH))];
            let mut state = node.after.clone();
            if bytes.sometimes(32) {
                // Whoever says what the state is may be wrong.
                let of = bytes.byte();
                room.disturb(bytes, of, &mut state);
            }
            room.states.push(state);
        }
        room
    }

    /// The tree of a state.
    pub(super) fn root(&mut self, state: &State) -> Root {
        let all: Vec<_> = state.iter().map(|((ty, key), id)| (StateKeyId::of(ty, key), EventKey::of(id))).collect();
        let (root, new) = insert(&self.nodes, Root::EMPTY, &all).expect("all nodes are there");
        self.nodes.extend(new);
        root
    }

    /// The state of a tree.
    pub(super) fn state(&self, root: Root) -> State {
        entries(&self.nodes, root)
            .map(|entry| {
                let (at, key) = entry.expect("all nodes are there");
                let event = &self.by_key[&key];
                let place = place(event);
                assert_eq!(StateKeyId::of(&place.0, &place.1), at, "an event where it does not belong");
                (place, event.event_id().to_owned())
            })
            .collect()
    }

    pub(super) fn keep(&mut self, new: state_res::tree::NewNodes) {
        self.nodes.extend(new);
    }

    /// The create event of the room.
    pub(super) fn create(&self) -> Option<&Pdu> {
        self.events.values().find(|event| event.is_state_of("m.room.create", ""))
    }

    fn begin(&mut self, bytes: &mut Bytes<'_>) -> Vec<Node> {
        let mut content = json!({ "room_version": self.version.as_str(), "creator": "@alice:a" });
        if bytes.sometimes(40) {
            content["additional_creators"] = json!(["@fred:c"]);
        }
        if bytes.sometimes(20) {
            content["m.federate"] = json!(false);
        }
        let create = self.event(&[], &[], "m.room.create", Some(""), "@alice:a", content, 1).expect("a create event");
        if self.version.rules().create_event_is_room_id {
            self.room_id = create.room_id().to_owned();
        }
        let after = State::from([(place(&create), create.event_id().to_owned())]);
        let mut nodes = vec![Node { id: create.event_id().to_owned(), depth: 1, after }];
        self.add(create);

        let mut users = json!({});
        if !self.version.rules().auth.privileged_creators {
            users["@alice:a"] = json!(100);
        }
        for user in &USERS[1..4] {
            users[*user] = json!(bytes.pick(&[50, 100, 0]));
        }
        let rule = bytes.pick(&["public", "invite", "knock", "restricted", "knock_restricted"]);
        self.act(bytes, &mut nodes, "m.room.member", "@alice:a", "@alice:a", json!({ "membership": "join" }));
        self.act(bytes, &mut nodes, "m.room.power_levels", "", "@alice:a", json!({ "users": users }));
        self.act(bytes, &mut nodes, "m.room.join_rules", "", "@alice:a", json!({ "join_rule": "public" }));
        for user in &USERS[1..4] {
            self.act(bytes, &mut nodes, "m.room.member", user, user, json!({ "membership": "join" }));
        }
        self.act(bytes, &mut nodes, "m.room.join_rules", "", "@alice:a", json!({ "join_rule": rule }));
        nodes
    }

    /// An event of the beginning, after the last one.
    fn act(
        &mut self,
        bytes: &mut Bytes<'_>,
        nodes: &mut Vec<Node>,
        event_type: &str,
        state_key: &str,
        sender: &str,
        content: Value,
    ) {
        let last = nodes.len() - 1;
        let _ = bytes;
        self.append(nodes, &[last], None, event_type, Some(state_key), sender, content, 2);
    }

    /// One more event.
    fn step(&mut self, bytes: &mut Bytes<'_>, nodes: &mut Vec<Node>) {
        let mut parents = vec![nodes.len() - 1 - bytes.below(nodes.len().min(WIDTH))];
        if bytes.sometimes(40) {
            let other = nodes.len() - 1 - bytes.below(nodes.len().min(WIDTH));
            if other != parents[0] {
                parents.push(other);
            }
        }
        // Auth events of another time than that of the parents.
        let stale = bytes.sometimes(48).then(|| bytes.below(nodes.len()));
        let sender = bytes.pick(&USERS);
        let (event_type, state_key, content) = action(bytes, sender);
        let ts = i64::from(bytes.byte() % 16);
        self.append(nodes, &parents, stale, &event_type, state_key.as_deref(), sender, content, ts);
    }

    #[allow(clippy::too_many_arguments)]
    fn append(
        &mut self,
        nodes: &mut Vec<Node>,
        parents: &[usize],
        stale: Option<usize>,
        event_type: &str,
        state_key: Option<&str>,
        sender: &str,
        content: Value,
        ts: i64,
    ) {
        // What a server takes for the state before the event. Any state will do to test the rules with.
        let mut before = State::new();
        for parent in parents {
            before.extend(nodes[*parent].after.clone());
        }
        let object = content.as_object().cloned().unwrap_or_default();
        let chosen = stale.map_or(&before, |node| &nodes[node].after);
        let cited: Vec<String> = auth_types(self.version, event_type, sender, state_key, &object)
            .into_iter()
            .filter_map(|(ty, key)| chosen.get(&(ty.to_owned(), key.to_owned())).cloned())
            .collect();
        let prev: Vec<String> = parents.iter().map(|parent| nodes[*parent].id.clone()).collect();
        // A fraction, where canonical JSON is enforced, makes it none.
        let Some(event) = self.event(&prev, &cited, event_type, state_key, sender, content, ts) else { return };
        let id = event.event_id().to_owned();
        if self.events.contains_key(&id) {
            return;
        }

        let is_rejected = |id: &String| self.rejected.contains(id);
        let cited: Vec<Cited<'_>> =
            cited.iter().map(|id| Cited { event: &self.events[id], rejected: is_rejected(id) }).collect();
        let create = self.create().map(|event| Cited { event, rejected: false });
        let by_auth_events: Vec<Pdu> =
            cited.iter().map(|cited| cited.event.clone()).chain(self.create().cloned()).collect();
        let is_allowed =
            auth::check_auth_events(&event, &cited, create).is_ok() && auth::check(&event, &by_auth_events).is_ok();
        if !is_allowed {
            self.rejected.insert(id.clone());
        }
        let mut after = before;
        if is_allowed && event.is_state() {
            after.insert(place(&event), id.clone());
        }
        let depth = 1 + parents.iter().map(|parent| nodes[*parent].depth).max().unwrap_or_default();
        self.add(event);
        nodes.push(Node { id, depth, after });
    }

    fn disturb(&self, bytes: &mut Bytes<'_>, of: u8, state: &mut State) {
        if of.is_multiple_of(2) {
            let places: Vec<_> = state.keys().cloned().collect();
            let gone = bytes.pick(&places);
            if gone.0 != "m.room.create" {
                state.remove(&gone);
            }
            return;
        }
        let all: Vec<&Pdu> = self.events.values().filter(|event| event.is_state()).collect();
        let event = bytes.pick(&all);
        state.insert(place(event), event.event_id().to_owned());
    }

    /// Whether the room tells what it knows of the graph beyond the events: the resolution must be the same.
    pub(super) fn tell(&mut self, tells: bool) {
        self.tells = tells;
    }

    fn add(&mut self, event: Pdu) {
        let links = Links::of(&event);
        let cited = &links.auth_events;
        let generation = Links::generation_above(cited.iter().map(|key| self.generations.get(key).copied().flatten()));
        self.generations.insert(event.key(), generation);
        let citing = links.place.map(|place| Citing { event: event.key(), place });
        for key in cited {
            self.citing.entry(*key).or_default().extend(citing);
        }
        self.by_key.insert(event.key(), event.clone());
        self.events.insert(event.event_id().to_owned(), event);
    }

    #[allow(clippy::too_many_arguments)]
    fn event(
        &self,
        prev: &[String],
        cited: &[String],
        event_type: &str,
        state_key: Option<&str>,
        sender: &str,
        content: Value,
        ts: i64,
    ) -> Option<Pdu> {
        let references = |ids: &[String]| -> Value {
            if self.version.rules().references_carry_hashes() {
                ids.iter().map(|id| json!([id, {}])).collect()
            } else {
                json!(ids)
            }
        };
        let mut event = json!({
            "type": event_type,
            "sender": sender,
            "content": content,
            "depth": self.events.len(),
            "origin_server_ts": ts,
            "prev_events": references(prev),
            "auth_events": references(cited),
            "hashes": { "sha256": "" },
            "signatures": {},
        });
        if let Some(state_key) = state_key {
            event["state_key"] = json!(state_key);
        }
        if event_type != "m.room.create" || !self.version.rules().create_event_is_room_id {
            event["room_id"] = json!(self.room_id);
        }
        if self.version.rules().event_id == EventIdFormat::Sent {
            event["event_id"] = json!(format!("$e{}:a", self.events.len()));
        }
        let json = serde_json::to_vec(&event).expect("values can be written");
        Pdu::parse(self.version, &json).ok()
    }
}

impl Nodes for Room {
    type Error = Infallible;
    type Bytes = Arc<[u8]>;

    fn node(&self, hash: &NodeHash) -> Result<Option<Arc<[u8]>>, Infallible> {
        self.nodes.node(hash)
    }
}

impl Events for Room {
    type Error = Infallible;

    fn event(&self, key: EventKey) -> Result<Option<Pdu>, Infallible> {
        Ok(self.by_key.get(&key).cloned())
    }

    fn is_rejected(&self, key: EventKey) -> Result<bool, Infallible> {
        Ok(self.by_key.get(&key).is_some_and(|event| self.rejected.contains(event.event_id())))
    }

    fn links(&self, key: EventKey) -> Result<Option<Links>, Infallible> {
        Ok(self.by_key.get(&key).map(|event| {
            let generation = self.generations.get(&key).copied().flatten().filter(|_| self.tells);
            Links { generation, ..Links::of(event) }
        }))
    }

    fn citing(&self, key: EventKey, after: Option<EventKey>, limit: usize) -> Result<Option<Vec<Citing>>, Infallible> {
        if !self.tells {
            return Ok(None);
        }
        let citing = self.citing.get(&key).into_iter().flatten().copied();
        Ok(Some(citing.filter(|citing| after.is_none_or(|after| citing.event > after)).take(limit).collect()))
    }
}

/// Where an event belongs.
pub(super) fn place(event: &Pdu) -> (String, String) {
    (event.event_type().to_owned(), event.state_key().unwrap_or_default().to_owned())
}

/// What someone might send: type, state key, content.
pub(super) fn action(bytes: &mut Bytes<'_>, sender: &str) -> (String, Option<String>, Value) {
    let membership = |target: &str, membership: &str| {
        ("m.room.member".to_owned(), Some(target.to_owned()), json!({ "membership": membership }))
    };
    match bytes.below(16) {
        0 => ("m.room.topic".to_owned(), Some(String::new()), json!({ "topic": bytes.byte() })),
        1 => membership(sender, "join"),
        2 => membership(sender, "leave"),
        3 => membership(sender, "knock"),
        4 | 5 => membership(bytes.pick(&USERS), "ban"),
        6 => membership(bytes.pick(&USERS), "leave"),
        7 => membership(bytes.pick(&USERS), "invite"),
        8 => {
            let (event_type, key, mut content) = membership(sender, "join");
            content["join_authorised_via_users_server"] = json!(bytes.pick(&USERS));
            (event_type, key, content)
        }
        9 | 10 => ("m.room.power_levels".to_owned(), Some(String::new()), Value::Object(power_levels(bytes))),
        11 => {
            let rule = bytes.pick(&["public", "invite", "knock", "restricted", "knock_restricted", "private"]);
            ("m.room.join_rules".to_owned(), Some(String::new()), json!({ "join_rule": rule }))
        }
        12 => ("m.room.message".to_owned(), None, json!({ "body": bytes.byte() })),
        13 => ("org.example.own".to_owned(), Some(bytes.pick(&USERS).to_owned()), json!({})),
        14 => {
            let token = bytes.pick(&["one", "two"]);
            ("m.room.third_party_invite".to_owned(), Some(token.to_owned()), json!({ "public_key": "" }))
        }
        _ => {
            let servers = ["a", "b", "c"];
            ("m.room.aliases".to_owned(), Some(bytes.pick(&servers).to_owned()), json!({ "aliases": [] }))
        }
    }
}

/// Power levels, mostly well-formed.
pub(super) fn power_levels(bytes: &mut Bytes<'_>) -> Map<String, Value> {
    let mut content = Map::new();
    let level = |bytes: &mut Bytes<'_>| -> Value {
        match bytes.byte() {
            0..=240 => json!(bytes.pick(&[0, 50, 100, 49, 51, 99, 101, -1])),
            241..=246 => json!("50"),
            247..=249 => json!(50.7),
            250..=251 => json!(" +5_0"),
            252..=253 => json!(9_007_199_254_740_991_i64),
            254 => json!(null),
            255 => json!([50]),
        }
    };
    let mut users = Map::new();
    for user in USERS {
        if bytes.sometimes(128) {
            users.insert(user.to_owned(), level(bytes));
        }
    }
    content.insert("users".to_owned(), Value::Object(users));
    for name in ["ban", "kick", "invite", "redact", "state_default", "events_default", "users_default"] {
        if bytes.sometimes(40) {
            content.insert(name.to_owned(), level(bytes));
        }
    }
    for name in ["events", "notifications"] {
        if bytes.sometimes(40) {
            content.insert(name.to_owned(), json!({ "m.room.topic": level(bytes) }));
        }
    }
    content
}
