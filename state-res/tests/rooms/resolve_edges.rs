//! Resolution where something is amiss: stores that fail, events that are missing, cycles, depth, and states that agree.

use std::{cell::Cell, sync::Arc};

use serde_json::json;
use state_res::{
    ids::EventKey,
    pdu::Pdu,
    resolve::{Citing, Events, Links, ResolveError, resolve},
    room_version::RoomVersion,
    tree::{NodeHash, Nodes, Root, TreeError},
};

use crate::{
    generated::{State, Store, room},
    indexed::Indexed,
    letter,
    support::{create, pdu},
};

fn resolve_by_the_letter(version: RoomVersion, store: &Store, states: &[State]) -> State {
    letter::resolve(version, store, states, None)
}

const VERSIONS: [RoomVersion; 3] = [RoomVersion::V1, RoomVersion::V10, RoomVersion::V12];

/// A store that fails from one question on, or that has lost one event. With an index or without.
struct Faulty<'a> {
    store: &'a Store,
    index: Option<&'a Indexed<'a>>,
    questions: Cell<usize>,
    fails_at: usize,
    lost: Option<EventKey>,
}

impl<'a> Faulty<'a> {
    fn new(store: &'a Store) -> Self {
        Faulty { store, index: None, questions: Cell::new(0), fails_at: usize::MAX, lost: None }
    }

    fn ask<T>(&self, answer: T) -> Result<T, &'static str> {
        self.questions.set(self.questions.get() + 1);
        if self.questions.get() > self.fails_at { Err("the disk is on fire") } else { Ok(answer) }
    }
}

impl Nodes for Faulty<'_> {
    type Error = &'static str;
    type Bytes = Arc<[u8]>;

    fn node(&self, hash: &NodeHash) -> Result<Option<Arc<[u8]>>, &'static str> {
        self.ask(self.store.node(hash).unwrap())
    }
}

impl Events for Faulty<'_> {
    type Error = &'static str;

    fn event(&self, key: EventKey) -> Result<Option<Pdu>, &'static str> {
        self.ask(if self.lost == Some(key) { None } else { self.store.event(key).unwrap() })
    }

    fn is_rejected(&self, key: EventKey) -> Result<bool, &'static str> {
        self.ask(self.store.is_rejected(key).unwrap())
    }

    fn links(&self, key: EventKey) -> Result<Option<Links>, &'static str> {
        match self.index {
            Some(index) => self.ask(if self.lost == Some(key) { None } else { index.links(key).unwrap() }),
            None => Ok(self.event(key)?.as_ref().map(Links::of)),
        }
    }

    fn citing(
        &self,
        key: EventKey,
        after: Option<EventKey>,
        limit: usize,
    ) -> Result<Option<Vec<Citing>>, &'static str> {
        self.index.map_or(Ok(None), |index| self.ask(index.citing(key, after, limit).unwrap()))
    }
}

/// Whatever the store fails to answer, the resolution is the right one or an error, never a state without the answer.
// clause: M1.4
#[test]
pub(crate) fn failures_abort() {
    for version in VERSIONS {
        let mut room = room(version, 4);
        let roots: Vec<Root> = room.states.clone().iter().map(|state| room.store.root(state)).collect();
        let index = Indexed::new(&room.store, room.store.events.values());
        for index in [None, Some(&index)] {
            let whole = Faulty { index, ..Faulty::new(&room.store) };
            let (expected, _) = resolve(version, &roots, &whole).unwrap();
            let questions = whole.questions.get();
            assert!(questions > 20, "the room is too simple to show anything");
            for fails_at in 0..questions {
                let faulty = Faulty { fails_at, index, ..Faulty::new(&room.store) };
                let outcome = resolve(version, &roots, &faulty);
                let failed = matches!(
                    outcome,
                    Err(ResolveError::Fetch("the disk is on fire")
                        | ResolveError::Tree(TreeError::Fetch("the disk is on fire")))
                );
                assert!(failed, "version {version}: question {fails_at} of {questions} got lost: {outcome:?}");
            }
            let last = Faulty { fails_at: questions, index, ..Faulty::new(&room.store) };
            assert_eq!(resolve(version, &roots, &last).unwrap().0, expected);
        }
    }
}

/// An event that is not there is an error, or of no importance.
// clause: M1.4
#[test]
pub(crate) fn missing_events_are_errors() {
    for version in VERSIONS {
        let (mut errors, mut unimportant) = (0, 0);
        for seed in 0..20 {
            let mut room = room(version, seed);
            let roots: Vec<Root> = room.states.clone().iter().map(|state| room.store.root(state)).collect();
            let (expected, _) = resolve(version, &roots, &Faulty::new(&room.store)).unwrap();
            let index = Indexed::new(&room.store, room.store.events.values());
            let both = room.store.events.values().flat_map(|event| [(event, None), (event, Some(&index))]);
            for (event, index) in both {
                let faulty = Faulty { lost: Some(event.key()), index, ..Faulty::new(&room.store) };
                match resolve(version, &roots, &faulty) {
                    Ok((root, _)) if root == expected => unimportant += 1,
                    Err(ResolveError::Missing(key)) if key == event.key() => errors += 1,
                    other => {
                        // The implied create event of version 12 is no link of the graph: without it nothing is allowed.
                        let is_create = event.event_type() == "m.room.create" && version == RoomVersion::V12;
                        assert!(is_create, "version {version}, seed {seed}: {other:?} without {event:?}");
                    }
                }
            }
        }
        println!("version {version}: {errors} missing events are errors, {unimportant} do not matter");
        assert!(errors > 0 && unimportant > 0);
    }
}

/// Of no states, one, or equal ones, nothing needs to be read.
// clause: M1.3
#[test]
pub(crate) fn what_agrees_needs_no_resolution() {
    for version in VERSIONS {
        let mut room = room(version, 1);
        let state = room.states[0].clone();
        let root = room.store.root(&state);
        let closed = Faulty { fails_at: 0, ..Faulty::new(&room.store) };
        assert_eq!(resolve(version, &[], &closed).unwrap(), (Root::EMPTY, vec![]));
        assert_eq!(resolve(version, &[root], &closed).unwrap(), (root, vec![]));
        assert_eq!(resolve(version, &[root, root, root], &closed).unwrap(), (root, vec![]));
    }
}

fn place(event: &Pdu) -> (String, String) {
    (event.event_type().to_owned(), event.state_key().unwrap().to_owned())
}

fn state_of(events: &[&Pdu]) -> State {
    events.iter().map(|event| (place(event), event.event_id().to_owned())).collect()
}

/// A room of version 2, in which senders choose event ids and so can make them cite one another in a circle.
// clause: M4.3
#[test]
pub(crate) fn cycles_end() {
    let version = RoomVersion::V2;
    let mut store = Store::default();
    let create = create(version, json!({}), json!({ "event_id": "$create:a" }));
    let member = |id: &str, cited: &[&str]| {
        pdu(
            version,
            json!({
                "event_id": id, "type": "m.room.member", "state_key": "@alice:a", "sender": "@alice:a",
                "content": { "membership": "join" }, "prev_events": ["$create:a"], "auth_events": cited,
            }),
        )
    };
    let power = |id: &str, cited: &[&str]| {
        pdu(
            version,
            json!({
                "event_id": id, "type": "m.room.power_levels", "state_key": "", "sender": "@alice:a",
            "content": { "users": { "@alice:a": 100 } },
                "auth_events": cited,
            }),
        )
    };
    let join = member("$join:a", &["$create:a"]);
    let one = power("$one:a", &["$create:a", "$join:a", "$two:a"]);
    let two = power("$two:a", &["$create:a", "$join:a", "$one:a"]);
    let topic = |id: &str, cited: &str| {
        pdu(
            version,
            json!({
                "event_id": id, "type": "m.room.topic", "state_key": "", "sender": "@alice:a",
                "auth_events": ["$create:a", "$join:a", cited],
            }),
        )
    };
    let (left, right) = (topic("$left:a", "$one:a"), topic("$right:a", "$two:a"));
    for event in [&create, &join, &one, &two, &left, &right] {
        store.add(event.clone());
    }
    let states = [state_of(&[&create, &join, &one, &left]), state_of(&[&create, &join, &two, &right])];
    let resolved = store.resolve(version, &states);
    // The circle has no first event, so none of it is applied; what everybody agrees on stays.
    assert_eq!(resolved.get(&place(&join)), Some(&"$join:a".to_owned()));
    assert_eq!(resolved.get(&place(&one)), None);
    assert!(resolved.contains_key(&place(&left)));
    let reversed: Vec<State> = states.into_iter().rev().collect();
    assert_eq!(store.resolve(version, &reversed), resolved);
}

/// What is in a circle has no place in the power order, nor has what waits for it; everything else keeps its own.
// clause: M4.3
#[test]
pub(crate) fn circles_leave_no_trace() {
    let version = RoomVersion::V2;
    for length in 1..=4 {
        let create = create(version, json!({}), json!({ "event_id": "$create:a" }));
        let event = |id: &str, event_type: &str, state_key: &str, content: serde_json::Value, cited: &[&str]| {
            let cited: Vec<&str> = ["$create:a", "$join:a"].into_iter().chain(cited.iter().copied()).collect();
            pdu(
                version,
                json!({
                    "event_id": id, "type": event_type, "state_key": state_key, "sender": "@alice:a",
                    "content": content, "auth_events": cited,
                }),
            )
        };
        let join = pdu(
            version,
            json!({
                "event_id": "$join:a", "type": "m.room.member", "state_key": "@alice:a", "sender": "@alice:a",
                "content": { "membership": "join" }, "prev_events": ["$create:a"], "auth_events": ["$create:a"],
            }),
        );
        let users = json!({ "users": { "@alice:a": 100 } });
        // Each cites the next, the last the first. Alone, every one of them would be allowed.
        let id = |number: usize| format!("$circle{}:a", number % length);
        let circle: Vec<Pdu> = (0..length)
            .map(|number| event(&id(number), "m.room.power_levels", "", users.clone(), &[&id(number + 1)]))
            .collect();
        let ban = json!({ "membership": "ban" });
        let waits = event("$waits:a", "m.room.member", "@bob:b", ban.clone(), &["$circle0:a"]);
        let waits_longer = event("$longer:a", "m.room.join_rules", "", json!({ "join_rule": "public" }), &["$waits:a"]);
        let free = event("$free:a", "m.room.member", "@carol:a", ban.clone(), &[]);
        let after_free = event("$after:a", "m.room.member", "@dan:a", ban, &["$free:a"]);
        // No power event: what mainline order makes of it is not concerned.
        let topic = event("$topic:a", "m.room.topic", "", json!({}), &["$circle0:a"]);
        let mut store = Store::default();
        let all = [&create, &join, &waits, &waits_longer, &free, &after_free, &topic];
        all.into_iter().chain(&circle).for_each(|event| store.add(event.clone()));
        let states = [
            state_of(&[&create, &join, &circle[0], &waits, &waits_longer, &free, &after_free, &topic]),
            state_of(&[&create, &join]),
        ];
        let resolved = store.resolve(version, &states);
        let expected = state_of(&[&create, &join, &free, &after_free, &topic]);
        assert_eq!(resolved, expected, "a circle of {length}");
        assert_eq!(resolve_by_the_letter(version, &store, &states), expected, "a circle of {length}, by the letter");
    }
}

/// In room version 12 it is the room id that names the create event, of an event that calls itself one as well. Here Mallory's is of
/// Alice's room, of which she is no creator, so that it has no power, and what cites it comes late.
// clause: M3.7
#[test]
pub(crate) fn a_create_event_has_the_power_of_its_room() {
    let version = RoomVersion::V12;
    let create = create(version, json!({}), json!({}));
    let event = |fields: serde_json::Value, cited: &[&Pdu]| {
        let mut event = json!({
            "room_id": create.room_id(), "state_key": "",
            "auth_events": cited.iter().map(|event| event.event_id()).collect::<Vec<_>>(),
        });
        event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        pdu(version, event)
    };
    let member = |user: &str, cited: &[&Pdu]| {
        let content = json!({ "membership": "join" });
        event(json!({ "type": "m.room.member", "state_key": user, "sender": user, "content": content }), cited)
    };
    let levels = |sender: &str, ts: u64, ban: u64, cited: &[&Pdu]| {
        let content = json!({ "users": { "@bob:b": 50, "@carol:a": 50 }, "ban": ban, "events": {} });
        event(
            json!({ "type": "m.room.power_levels", "sender": sender, "origin_server_ts": ts, "content": content }),
            cited,
        )
    };
    let alice = member("@alice:a", &[]);
    let first = levels("@alice:a", 1, 50, &[&alice]);
    let rules = json!({ "type": "m.room.join_rules", "sender": "@alice:a", "content": { "join_rule": "public" } });
    let rules = event(rules, &[&alice, &first]);
    let (bob, carol) = (member("@bob:b", &[&first, &rules]), member("@carol:a", &[&first, &rules]));
    let mallory = event(json!({ "type": "m.room.create", "sender": "@mallory:m", "prev_events": [] }), &[]);
    let early = levels("@bob:b", 10, 49, &[&bob, &first, &mallory]);
    let late = levels("@carol:a", 20, 48, &[&carol, &first]);
    let mut store = Store::default();
    let common = [&create, &alice, &rules, &bob, &carol];
    common.into_iter().chain([&first, &mallory, &early, &late]).for_each(|event| store.add(event.clone()));
    let with = |last| state_of(&common.into_iter().chain([last]).collect::<Vec<_>>());
    let states = [with(&early), with(&late)];
    let resolved = store.resolve(version, &states);
    assert_eq!(resolved, with(&early), "the later of the two comes first, as it need not wait");
    assert_eq!(resolve_by_the_letter(version, &store, &states), resolved);
}

/// The power of a sender is what the power levels say that the event cites, whether it cites the create event or not. Here the rules that
/// lack it are rejected for that, but come first as they are older, and so do not win.
// clause: M3.7
#[test]
pub(crate) fn power_levels_count_without_the_create_event() {
    for version in [RoomVersion::V3, RoomVersion::V6, RoomVersion::V10, RoomVersion::V11] {
        let create = create(version, json!({}), json!({}));
        let event = |event_type: &str, state_key: &str, ts: u64, content: serde_json::Value, cited: &[&Pdu]| {
            let cited: Vec<_> = cited.iter().map(|event| event.event_id()).collect();
            let fields = json!({
                "type": event_type, "state_key": state_key, "origin_server_ts": ts, "content": content, "auth_events": cited,
                "room_id": create.room_id(), "sender": "@alice:a",
            });
            pdu(version, fields)
        };
        let alice = event("m.room.member", "@alice:a", 2, json!({ "membership": "join" }), &[&create]);
        let levels = json!({ "users": { "@alice:a": 100 } });
        let levels = event("m.room.power_levels", "", 3, levels, &[&create, &alice]);
        let public = event("m.room.join_rules", "", 5, json!({ "join_rule": "public" }), &[&alice, &levels]);
        let invite = event("m.room.join_rules", "", 7, json!({ "join_rule": "invite" }), &[&create, &alice, &levels]);
        let mut store = Store::default();
        let common = [&create, &alice, &levels];
        common.into_iter().chain([&public, &invite]).for_each(|event| store.add(event.clone()));
        let with = |last| state_of(&common.into_iter().chain([last]).collect::<Vec<_>>());
        let states = [with(&public), with(&invite)];
        assert_eq!(store.resolve(version, &states), with(&invite), "{version:?}");
        assert_eq!(resolve_by_the_letter(version, &store, &states), with(&invite), "{version:?}, by the letter");
    }
}

/// How long the auth chain of [`depth_is_harmless`] is. A recursive walk would need far more stack than a thread has.
const DEPTH: usize = 30_000;

/// A chain of power levels, each citing the one before, does no harm to the stack.
#[test]
fn depth_is_harmless() {
    for version in [RoomVersion::V2, RoomVersion::V12] {
        let mut store = Store::default();
        let create = create(version, json!({}), json!({ "event_id": "$create:a" }));
        let implied = version == RoomVersion::V12;
        let room_id = create.room_id().to_owned();
        let make = |number: usize, event_type: &str, state_key: &str, content: serde_json::Value, cited: &[&str]| {
            let cited: Vec<&str> = cited.iter().copied().filter(|id| !implied || *id != create.event_id()).collect();
            let id = if implied { json!("absent") } else { json!(format!("${number}:a")) };
            pdu(
                version,
                json!({
                    "event_id": id, "room_id": room_id, "type": event_type, "state_key": state_key, "content": content,
                    "sender": "@alice:a", "auth_events": cited, "prev_events": [create.event_id()],
                    "origin_server_ts": number,
                }),
            )
        };
        let join = make(1, "m.room.member", "@alice:a", json!({ "membership": "join" }), &[create.event_id()]);
        store.add(create.clone());
        store.add(join.clone());
        let mut chain: Vec<Pdu> = Vec::new();
        for number in 0..DEPTH {
            let mut cited = vec![create.event_id(), join.event_id()];
            cited.extend(chain.last().map(Pdu::event_id));
            // A creator of version 12 has no level.
            let users = if implied { json!({}) } else { json!({ "@alice:a": 100 }) };
            let content = json!({ "ban": 50 + number % 2, "users": users });
            let next = make(number + 2, "m.room.power_levels", "", content, &cited);
            store.add(next.clone());
            chain.push(next);
        }
        let states = [state_of(&[&create, &join, &chain[0]]), state_of(&[&create, &join, &chain[DEPTH - 1]])];
        let resolved = store.resolve(version, &states);
        assert_eq!(resolved, states[1]);
    }
}

/// An auth event that was rejected does not stand in for what the state lacks (room version 2, "Iterative auth checks").
// clause: M5.3
#[test]
pub(crate) fn rejected_auth_events_do_not_help() {
    let version = RoomVersion::V11;
    let create = create(version, json!({}), json!({}));
    let event = |event_type: &str, state_key: &str, sender: &str, content: serde_json::Value, cited: &[&Pdu]| {
        let cited: Vec<_> = cited.iter().map(|event| event.event_id()).collect();
        pdu(
            version,
            json!({
                "type": event_type, "state_key": state_key, "sender": sender, "content": content, "auth_events": cited,
                "room_id": create.room_id(),
            }),
        )
    };
    let alice = event("m.room.member", "@alice:a", "@alice:a", json!({ "membership": "join" }), &[&create]);
    let rules = event("m.room.join_rules", "", "@alice:a", json!({ "join_rule": "public" }), &[&create, &alice]);
    let power = event("m.room.power_levels", "", "@alice:a", json!({ "state_default": 0 }), &[&create, &alice]);
    let bob = event("m.room.member", "@bob:b", "@bob:b", json!({ "membership": "join" }), &[&create, &rules]);
    // Bob's membership is in neither state, and in the auth chain of both through what he sent before: only the event in
    // question knows it.
    let before = event("x", "@bob:b", "@bob:b", json!({}), &[&create, &bob, &power]);
    let own = event("y", "@bob:b", "@bob:b", json!({}), &[&create, &bob, &power]);
    let without = [&create, &alice, &power, &rules, &before];
    let with = [&create, &alice, &power, &rules, &before, &own];
    for rejected in [false, true] {
        let mut store = Store::default();
        for event in with.into_iter().chain([&bob]) {
            store.add(event.clone());
        }
        if rejected {
            store.rejected.insert(bob.event_id().to_owned());
        }
        let resolved = store.resolve(version, &[state_of(&with), state_of(&without)]);
        assert_eq!(resolved.contains_key(&place(&own)), !rejected);
    }
}
