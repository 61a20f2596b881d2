//! The language in which the attacks are told.

use std::{collections::BTreeMap, ops::RangeInclusive};

use serde_json::{Map, Value, json};
use state_res::{
    auth::auth_types,
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
    room_version::{RoomVersion, StateResolution},
    tree::Root,
};

use crate::{
    naive::{self, Fault},
    ruma,
    server::{Ours, Server, State, Verdict},
};

/// Runs a story in each room version of a range, from a room that has nothing but its create event.
pub fn in_versions(versions: RangeInclusive<usize>, story: impl Fn(&mut Room)) {
    for number in versions {
        let mut room = Room::new(RoomVersion::ALL[number - 1]);
        story(&mut room);
    }
}

/// Every version.
pub const ALL: RangeInclusive<usize> = 1..=12;
/// The one of the third algorithm.
pub const V2_1: RangeInclusive<usize> = 12..=12;

/// What someone does.
pub struct Deed {
    event_type: &'static str,
    state_key: String,
    content: Value,
}

fn deed(event_type: &'static str, state_key: String, content: Value) -> Deed {
    Deed { event_type, state_key, content }
}

/// `@name:name.example`, or what is a user id already.
pub fn user(name: &str) -> String {
    if name.starts_with('@') { name.to_owned() } else { format!("@{name}:{name}.example") }
}

pub fn member(target: &str, membership: &str) -> Deed {
    deed("m.room.member", user(target), json!({ "membership": membership }))
}

pub fn join(target: &str) -> Deed {
    member(target, "join")
}

/// A join for which someone vouches.
pub fn join_by(target: &str, authoriser: &str) -> Deed {
    let content = json!({ "membership": "join", "join_authorised_via_users_server": user(authoriser) });
    deed("m.room.member", user(target), content)
}

pub fn leave(target: &str) -> Deed {
    member(target, "leave")
}

pub fn ban(target: &str) -> Deed {
    member(target, "ban")
}

pub fn join_rule(rule: &str) -> Deed {
    deed("m.room.join_rules", String::new(), json!({ "join_rule": rule }))
}

pub fn topic(text: &str) -> Deed {
    deed("m.room.topic", String::new(), json!({ "topic": text }))
}

/// Power levels of users, whatever else they say.
pub fn power_and(users: &[(&str, i64)], more: Value) -> Deed {
    let users: Map<String, Value> = users.iter().map(|(name, level)| (user(name), json!(level))).collect();
    let mut content = json!({ "users": users });
    content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    deed("m.room.power_levels", String::new(), content)
}

pub fn power(users: &[(&str, i64)]) -> Deed {
    power_and(users, json!({}))
}

/// Any other state.
pub fn state(event_type: &'static str, state_key: &str, content: Value) -> Deed {
    deed(event_type, state_key.to_owned(), content)
}

/// A state as some server says it is: that after an event, but for some entries.
pub struct Claim {
    after: &'static str,
    has: &'static [&'static str],
}

/// The state after an event.
pub fn after(event: &'static str) -> Claim {
    Claim { after: event, has: &[] }
}

/// The state after an event, but with these where they belong.
pub fn after_but(event: &'static str, has: &'static [&'static str]) -> Claim {
    Claim { after: event, has }
}

/// A room as it comes to be. Each event gets a name; it follows the one told before it unless [`Room::fork`] says otherwise.
pub struct Room {
    pub version: RoomVersion,
    server: Server,
    names: BTreeMap<&'static str, Pdu>,
    tip: Vec<&'static str>,
    clock: i64,
    next_ts: Option<i64>,
    next_depth: Option<i64>,
    /// The event in the state after which the next one finds its auth events.
    next_auth: Option<&'static str>,
}

impl Room {
    fn new(version: RoomVersion) -> Self {
        let mut room = Room {
            version,
            server: Server::new(version),
            names: BTreeMap::new(),
            tip: Vec::new(),
            clock: 0,
            next_ts: None,
            next_depth: None,
            next_auth: None,
        };
        room.create("create", "alice", "alice");
        room
    }

    pub fn is_v1(&self) -> bool {
        self.version.rules().state_resolution == StateResolution::V1
    }

    pub fn is_v2(&self) -> bool {
        self.version.rules().state_resolution == StateResolution::V2
    }

    /// A create event, after nothing. The creator differs from the sender to version 10 only.
    pub fn create(&mut self, name: &'static str, sender: &str, creator: &str) {
        let mut content = json!({ "room_version": self.version.as_str() });
        if self.version.rules().auth.creator_in_content {
            content["creator"] = json!(user(creator));
        }
        self.tip.clear();
        self.add(name, &user(sender), state("m.room.create", "", content));
    }

    /// How most rooms begin, in one line: Alice joins ("alice"), sets power levels ("power": herself 100, and these) and lets
    /// everybody in ("public"); the others join, each event by the user's name. The line ends in "start".
    pub fn begin(&mut self, others: &[(&'static str, i64)]) {
        self.begin_with(others, json!({}));
    }

    /// The same with more in the power levels.
    pub fn begin_with(&mut self, others: &[(&'static str, i64)], more: Value) {
        let users: Vec<(&str, i64)> = [("alice", 100)].into_iter().chain(others.iter().copied()).collect();
        self.put("alice", "alice", join("alice"));
        self.put("power", "alice", power_and(&users, more));
        self.put("public", "alice", join_rule("public"));
        for (name, _) in others {
            self.put(name, name, join(name));
        }
        self.put("start", "alice", state("start", "", json!({})));
    }

    /// What is told next follows these.
    pub fn fork(&mut self, from: &[&'static str]) {
        self.tip = from.to_vec();
    }

    /// When the next event says it was sent. Otherwise each is sent ten milliseconds after the one told before.
    pub fn at(&mut self, ts: i64) -> &mut Self {
        self.next_ts = Some(ts);
        self
    }

    /// How deep the next event says it is. Otherwise it is one deeper than what it follows.
    pub fn at_depth(&mut self, depth: i64) -> &mut Self {
        self.next_depth = Some(depth);
        self
    }

    /// The next event has the auth events of the state after another.
    pub fn citing_as_after(&mut self, event: &'static str) -> &mut Self {
        self.next_auth = Some(event);
        self
    }

    /// Someone does something, which the rules allow where it is done.
    pub fn put(&mut self, name: &'static str, sender: &str, deed: Deed) {
        self.add(name, &user(sender), deed);
        let verdict = self.verdict(name);
        assert_eq!(verdict, Verdict::Accepted, "{}: {name} should be accepted", self.version);
    }

    /// Someone does something that the event's own auth events do not allow, by the rule that ends in these numbers.
    pub fn refused(&mut self, name: &'static str, sender: &str, deed: Deed, rule: &str) {
        self.add(name, &user(sender), deed);
        match self.verdict(name) {
            Verdict::RejectedByAuthEvents(refusal) => {
                assert!(refusal.rule.ends_with(rule), "{}: {name}: {refusal}", self.version);
            }
            verdict => panic!("{}: {name} should be rejected by its auth events: {verdict:?}", self.version),
        }
    }

    /// Someone does something that the event's own auth events allow, and the state before it does not.
    pub fn refused_by_state(&mut self, name: &'static str, sender: &str, deed: Deed, rule: &str) {
        self.add(name, &user(sender), deed);
        match self.verdict(name) {
            Verdict::RejectedByState(refusal) => {
                assert!(refusal.rule.ends_with(rule), "{}: {name}: {refusal}", self.version);
            }
            verdict => panic!("{}: {name} should be rejected by the state before it: {verdict:?}", self.version),
        }
    }

    pub fn event(&self, name: &str) -> &Pdu {
        self.names.get(name).unwrap_or_else(|| panic!("there is no event {name}"))
    }

    pub fn verdict(&self, name: &str) -> Verdict {
        self.server.received(self.event(name).key()).verdict.clone()
    }

    fn add(&mut self, name: &'static str, sender: &str, deed: Deed) {
        let Deed { event_type, state_key, mut content } = deed;
        let creators = self.version.rules().auth.privileged_creators;
        if creators && event_type == "m.room.power_levels" && content.get("name_creators").is_none() {
            // A creator of version 12 has no level.
            content["users"].as_object_mut().unwrap().remove(&user("alice"));
        }
        content.as_object_mut().unwrap().remove("name_creators");
        self.clock += 10;
        let (ts, depth) = (self.next_ts.take().unwrap_or(self.clock), self.next_depth.take());
        let previous: Vec<EventKey> = self.tip.iter().map(|name| self.event(name).key()).collect();
        let before = self.server.state_after(&Ours, &previous);
        let auth_state = match self.next_auth.take() {
            Some(other) => self.server.received(self.event(other).key()).after,
            None => before,
        };
        let types = auth_types(self.version, event_type, sender, Some(&state_key), content.as_object().unwrap());
        let cited: Vec<&str> = types
            .into_iter()
            .filter_map(|(ty, key)| self.server.in_state(auth_state, StateKeyId::of(ty, key)))
            .map(Pdu::event_id)
            .collect();
        let previous: Vec<&str> = self.tip.iter().map(|name| self.event(name).event_id()).collect();
        let with_hashes = self.version.rules().references_carry_hashes();
        let list = |ids: &[&str]| -> Value {
            if with_hashes { ids.iter().map(|id| json!([id, {}])).collect() } else { json!(ids) }
        };
        let deepest = self.tip.iter().map(|name| self.event(name).depth()).max().unwrap_or(0);
        let mut event = json!({
            "type": event_type, "state_key": state_key, "sender": sender, "content": content,
            "depth": depth.unwrap_or(deepest + 1), "origin_server_ts": ts,
            "prev_events": list(&previous), "auth_events": list(&cited),
            "hashes": { "sha256": "" }, "signatures": {}, "name": name,
        });
        if with_hashes {
            event["event_id"] = json!(format!("${name}:{}", sender.split_once(':').unwrap().1));
        }
        if !(event_type == "m.room.create" && self.version.rules().create_event_is_room_id) {
            let room = self.names.get("create").map_or("!room:alice.example", Pdu::room_id);
            event["room_id"] = json!(room);
        }
        let pdu = Pdu::parse(self.version, &serde_json::to_vec(&event).unwrap()).unwrap();
        self.server.receive_at(&pdu, before);
        assert!(self.names.insert(name, pdu).is_none(), "two events are named {name}");
        self.tip = vec![name];
    }

    /// The resolution of some states.
    pub fn resolve(&mut self, claims: &[Claim]) -> Outcome<'_> {
        let (state, states) = self.resolve_twice(claims);
        if !self.is_v1() {
            let oracle = self.oracle(&states);
            assert_eq!(self.named(&state), oracle, "version {}: the oracle differs", self.version);
        }
        Outcome { room: self, state }
    }

    /// The resolution of states that the oracle is not made for.
    pub fn resolve_without_oracle(&mut self, claims: &[Claim]) -> Outcome<'_> {
        let (state, _) = self.resolve_twice(claims);
        Outcome { room: self, state }
    }

    /// The resolution of some states by this crate and the naive implementation, and these states.
    fn resolve_twice(&mut self, claims: &[Claim]) -> (State, Vec<State>) {
        let mut roots: Vec<Root> = claims.iter().map(|claim| self.claim(claim)).collect();
        let root = self.server.resolve(&Ours, &roots);
        let states: Vec<State> = roots.iter().map(|root| self.server.state(*root)).collect();
        roots.reverse();
        assert_eq!(self.server.resolve(&Ours, &roots), root, "version {}: the order of states shows", self.version);
        let outcome = self.server.state(root);
        let literal = naive::resolve(self.version, &self.server, &states, Fault::None);
        assert_eq!(outcome, literal, "version {}: the naive implementation differs", self.version);
        (outcome, states)
    }

    fn claim(&mut self, claim: &Claim) -> Root {
        let state = self.server.received(self.event(claim.after).key()).after;
        let event = |name: &&str| (naive::place(self.event(name)), Some(self.event(name).key()));
        let changes: Vec<_> = claim.has.iter().map(event).collect();
        self.server.changed(state, &changes)
    }

    fn oracle(&self, states: &[State]) -> BTreeMap<String, String> {
        let events: BTreeMap<String, Pdu> =
            self.names.values().map(|event| (event.event_id().to_owned(), event.clone())).collect();
        let rejected = events
            .values()
            .filter(|event| self.server.received(event.key()).verdict != Verdict::Accepted)
            .map(|event| event.event_id().to_owned())
            .collect();
        let plain = |state: &State| {
            let entry = |key: &EventKey| {
                let event = self.server.pdu(*key);
                let place = (event.event_type().to_owned(), event.state_key().unwrap().to_owned());
                (place, event.event_id().to_owned())
            };
            state.values().map(entry).collect()
        };
        let states: Vec<_> = states.iter().map(plain).collect();
        let resolved = ruma::resolve(self.version, &states, &events, &rejected).unwrap();
        resolved.into_iter().map(|((ty, key), id)| (format!("{ty} {key}"), self.name_of(&id).to_owned())).collect()
    }

    fn name_of(&self, id: &str) -> &'static str {
        self.names.iter().find(|(_, event)| event.event_id() == id).unwrap().0
    }

    /// A state with the names that the story gives.
    fn named(&self, state: &State) -> BTreeMap<String, String> {
        let entry = |key: &EventKey| {
            let event = self.server.pdu(*key);
            let place = format!("{} {}", event.event_type(), event.state_key().unwrap());
            (place, self.name_of(event.event_id()).to_owned())
        };
        state.values().map(entry).collect()
    }
}

/// A state that several were resolved to.
pub struct Outcome<'a> {
    room: &'a Room,
    state: State,
}

impl Outcome<'_> {
    /// The state has these events.
    pub fn has(&self, names: &[&str]) -> &Self {
        for name in names {
            let event = self.room.event(name);
            let found = self.state.get(&naive::place(event));
            assert_eq!(
                found,
                Some(&event.key()),
                "version {}: {name} should be in {:#?}",
                self.room.version,
                self.text()
            );
        }
        self
    }

    /// The state has nothing where these events belong.
    pub fn has_nothing_like(&self, names: &[&str]) -> &Self {
        for name in names {
            let found = self.state.get(&naive::place(self.room.event(name)));
            assert_eq!(
                found,
                None,
                "version {}: nothing like {name} should be in {:#?}",
                self.room.version,
                self.text()
            );
        }
        self
    }

    fn text(&self) -> BTreeMap<String, String> {
        self.room.named(&self.state)
    }
}
