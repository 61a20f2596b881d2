//! The worked examples of docs/spec/6-state-resolution.md, as they are drawn there.

use serde_json::{Value, json};
use state_res::{pdu::Pdu, room_version::RoomVersion};

use crate::{
    generated::{Room, State, Store},
    support::{create, pdu},
};

/// A room that is drawn: its events, each of which gets a time and a depth.
struct Drawing {
    version: RoomVersion,
    store: Store,
    create: Pdu,
}

impl Drawing {
    fn new(version: RoomVersion) -> Self {
        let create = create(version, json!({}), json!({}));
        let mut store = Store::default();
        store.add(create.clone());
        Drawing { version, store, create }
    }

    /// A state event; the create event is cited where the version wants it.
    fn add(&mut self, place: (&str, &str), sender: &str, content: Value, at: (i64, i64), cited: &[&Pdu]) -> Pdu {
        let create = self.version.rules().auth.create_in_auth_events.then_some(&self.create);
        let cited: Vec<_> = create.into_iter().chain(cited.iter().copied()).map(Pdu::event_id).collect();
        let fields = json!({
            "type": place.0, "state_key": place.1, "sender": sender, "content": content, "origin_server_ts": at.0,
            "depth": at.1, "auth_events": cited, "room_id": self.create.room_id(), "prev_events": ["$before:a"],
        });
        let mut fields = fields;
        if at.1 == 2 {
            fields["prev_events"] = json!([self.create.event_id()]);
        }
        let event = pdu(self.version, fields);
        self.store.add(event.clone());
        event
    }

    fn join(&mut self, user: &str, at: (i64, i64), cited: &[&Pdu]) -> Pdu {
        self.add(("m.room.member", user), user, json!({ "membership": "join" }), at, cited)
    }

    /// Power levels with these users; creators of version 12 have none.
    fn power(&mut self, sender: &str, users: Value, more: Value, at: (i64, i64), cited: &[&Pdu]) -> Pdu {
        let mut content = json!({ "users": users });
        if self.version == RoomVersion::V12 {
            content["users"].as_object_mut().unwrap().remove("@alice:a");
        }
        for (name, value) in more.as_object().unwrap() {
            content[name] = value.clone();
        }
        self.add(("m.room.power_levels", ""), sender, content, at, cited)
    }

    fn state(&self, events: &[&Pdu]) -> State {
        let all = events.iter().copied().chain([&self.create]);
        all.map(|event| (place(event), event.event_id().to_owned())).collect()
    }

    fn room(self, states: Vec<State>) -> Room {
        Room { store: self.store, states }
    }
}

fn place(event: &Pdu) -> (String, String) {
    (event.event_type().to_owned(), event.state_key().unwrap().to_owned())
}

/// Alice, who made the room; power levels; anyone may join; and these, who have.
struct Base {
    alice: Pdu,
    power: Pdu,
    rules: Pdu,
    others: Vec<Pdu>,
}

fn base(d: &mut Drawing, users: Value, more: Value, others: &[&str]) -> Base {
    let alice = d.join("@alice:a", (1, 2), &[]);
    let power = d.power("@alice:a", users, more, (2, 3), &[&alice]);
    let public = json!({ "join_rule": "public" });
    let rules = d.add(("m.room.join_rules", ""), "@alice:a", public, (3, 4), &[&alice, &power]);
    let others = others.iter().map(|user| d.join(user, (4, 5), &[&power, &rules])).collect();
    Base { alice, power, rules, others }
}

/// A room of an example and what its resolution has at the places that matter: the event, or none.
type Example = (Room, Vec<((String, String), Option<Pdu>)>);

fn one(version: RoomVersion) -> Example {
    let mut d = Drawing::new(version);
    let b = base(&mut d, json!({ "@alice:a": 100 }), json!({ "state_default": 0 }), &["@bob:b"]);
    let banned = json!({ "membership": "ban" });
    let bob = b.others[0].clone();
    let ban = d.add(("m.room.member", "@bob:b"), "@alice:a", banned, (10, 6), &[&b.power, &b.alice, &bob]);
    let topic = d.add(("m.room.topic", ""), "@bob:b", json!({ "topic": "x" }), (11, 6), &[&b.power, &bob]);
    let states =
        vec![d.state(&[&b.alice, &b.power, &b.rules, &ban]), d.state(&[&b.alice, &b.power, &b.rules, &bob, &topic])];
    let stays = (version == RoomVersion::V1).then(|| topic.clone());
    (d.room(states), vec![(place(&ban), Some(ban)), (place(&topic), stays)])
}

/// Alice's level is 100 (a creator's in version 12), Bob's 50; or both have 50, where the example says so.
fn two(version: RoomVersion, alice: i64) -> Example {
    let mut d = Drawing::new(version);
    // In version 12 Alice, as the creator, has more than anyone: Dora takes her place.
    let (who, users) = if version == RoomVersion::V12 {
        ("@dora:a", json!({ "@dora:a": alice, "@bob:b": 50 }))
    } else {
        ("@alice:a", json!({ "@alice:a": alice, "@bob:b": 50 }))
    };
    let events = json!({ "events": { "m.room.power_levels": 50 } });
    let b = base(&mut d, users.clone(), events.clone(), &["@bob:b", "@carol:a", "@dora:a"]);
    let [bob, carol, dora] = [0, 1, 2].map(|at| b.others[at].clone());
    let sender = if who == "@dora:a" { &dora } else { &b.alice };
    let mut fewer = users;
    fewer["@bob:b"] = json!(0);
    // Whoever has 50 cannot take it from another who has 50, but can give Carol something.
    if alice == 50 {
        fewer["@bob:b"] = json!(50);
        fewer["@emma:a"] = json!(10);
    }
    let demotion = d.power(who, fewer, events, (20, 6), &[&b.power, sender]);
    let banned = json!({ "membership": "ban" });
    let ban = d.add(("m.room.member", "@carol:a"), "@bob:b", banned, (10, 6), &[&b.power, &bob, &carol]);
    let states = vec![
        d.state(&[&b.alice, &demotion, &b.rules, &bob, &carol, &dora]),
        d.state(&[&b.alice, &b.power, &b.rules, &bob, &ban, &dora]),
    ];
    let stands = if alice == 50 { ban } else { carol };
    (d.room(states), vec![(place(&demotion), Some(demotion)), (place(&stands), Some(stands))])
}

fn three(version: RoomVersion) -> Example {
    let mut d = Drawing::new(version);
    let b = base(&mut d, json!({ "@alice:a": 100 }), json!({}), &[]);
    let power = d.power("@alice:a", json!({ "@alice:a": 100 }), json!({ "ban": 60 }), (10, 6), &[&b.power, &b.alice]);
    let topic = json!({ "topic": "A" });
    let old = d.add(("m.room.topic", ""), "@alice:a", topic, (30, 6), &[&b.power, &b.alice]);
    let topic = json!({ "topic": "B" });
    let new = d.add(("m.room.topic", ""), "@alice:a", topic, (20, 7), &[&power, &b.alice]);
    let states = vec![d.state(&[&b.alice, &power, &b.rules, &old]), d.state(&[&b.alice, &power, &b.rules, &new])];
    (d.room(states), vec![(place(&new), Some(new))])
}

/// The first meeting, and with its outcome the second.
fn four(version: RoomVersion) -> [Example; 2] {
    let graph = || {
        let mut d = Drawing::new(version);
        let users = json!({ "@alice:a": 100, "@bob:b": 100 });
        let b = base(&mut d, users.clone(), json!({}), &["@bob:b"]);
        let bob = b.others[0].clone();
        let two = d.power("@bob:b", users, json!({ "ban": 60 }), (10, 6), &[&b.power, &bob]);
        let left = json!({ "membership": "leave" });
        let leave = d.add(("m.room.member", "@bob:b"), "@bob:b", left, (11, 6), &[&b.power, &bob]);
        (d, b, bob, two, leave)
    };
    let (d, b, bob, two, leave) = graph();
    let states = vec![d.state(&[&b.alice, &two, &b.rules, &bob]), d.state(&[&b.alice, &b.power, &b.rules, &leave])];
    let first = (d.room(states), vec![(place(&two), Some(two)), (place(&leave), Some(leave))]);
    let (d, b, _, two, leave) = graph();
    let states = vec![d.state(&[&b.alice, &two, &b.rules, &leave]), d.state(&[&b.alice, &b.power, &b.rules, &leave])];
    let power = if version == RoomVersion::V12 { two } else { b.power };
    let second = (d.room(states), vec![(place(&power), Some(power)), (place(&leave), Some(leave))]);
    [first, second]
}

fn six(version: RoomVersion) -> Example {
    let mut d = Drawing::new(version);
    let users = json!({ "@alice:a": 100 });
    let b = base(&mut d, users.clone(), json!({ "state_default": 0 }), &["@bob:b"]);
    let bob = &b.others[0];
    let power = d.power("@alice:a", users, json!({ "state_default": 50 }), (10, 6), &[&b.power, &b.alice]);
    let topic = d.add(("m.room.topic", ""), "@bob:b", json!({ "topic": "x" }), (11, 6), &[&b.power, bob]);
    let agreed = [&b.alice, &power, &b.rules, bob];
    let states = vec![d.state(&agreed), d.state(&[&agreed[..], &[&topic]].concat())];
    let stays = (version == RoomVersion::V12).then(|| topic.clone());
    (d.room(states), vec![(place(&power), Some(power)), (place(&topic), stays)])
}

/// Bob's join has been rejected. It is in neither state, but in the auth chain of both, and what else he sent cites it.
fn rejected_join(version: RoomVersion) -> Room {
    let mut d = Drawing::new(version);
    let b = base(&mut d, json!({ "@alice:a": 100 }), json!({ "state_default": 0 }), &["@bob:b"]);
    let bob = &b.others[0];
    let before = d.add(("x", "@bob:b"), "@bob:b", json!({}), (5, 6), &[&b.power, bob]);
    let own = d.add(("y", "@bob:b"), "@bob:b", json!({}), (6, 7), &[&b.power, bob]);
    d.store.rejected.insert(bob.event_id().to_owned());
    let without = [&b.alice, &b.power, &b.rules, &before];
    let states = vec![d.state(&without), d.state(&[&without[..], &[&own]].concat())];
    d.room(states)
}

fn check((mut room, expected): Example) {
    let version = room.store.events.values().next().unwrap().version();
    let states = room.states.clone();
    let resolved = room.store.resolve(version, &states);
    for (place, event) in expected {
        let event = event.as_ref().map(Pdu::event_id);
        assert_eq!(resolved.get(&place).map(String::as_str), event, "version {version}: {place:?}");
    }
}

fn second_on() -> impl Iterator<Item = RoomVersion> {
    RoomVersion::ALL.into_iter().filter(|version| *version > RoomVersion::V1)
}

/// The rooms of the examples, for tests that want rooms where something happens.
pub fn rooms(version: RoomVersion) -> Vec<(&'static str, Room)> {
    let [first, second] = four(version);
    vec![
        ("example 1", one(version).0),
        ("example 2", two(version, 100).0),
        ("example 2, equals", two(version, 50).0),
        ("example 3", three(version).0),
        ("example 4, first", first.0),
        ("example 4, second", second.0),
        ("example 6", six(version).0),
        ("a rejected join", rejected_join(version)),
    ]
}

#[test]
fn a_topic_by_someone_banned() {
    RoomVersion::ALL.into_iter().for_each(|version| check(one(version)));
}

#[test]
fn a_demotion_races_a_ban() {
    for version in second_on() {
        check(two(version, 100));
        check(two(version, 50));
    }
}

#[test]
fn the_mainline_is_stronger_than_time() {
    second_on().for_each(|version| check(three(version)));
}

#[test]
fn a_state_reset() {
    second_on().flat_map(four).for_each(check);
}

#[test]
fn superseded_power_levels() {
    second_on().for_each(|version| check(six(version)));
    // A server that looked at the chains of conflicted events alone would let the topic stand in v2.
    for version in second_on().filter(|version| *version < RoomVersion::V12) {
        let (room, expected) = six(version);
        let (topic, _) = &expected[1];
        let wrong = crate::letter::resolve(version, &room.store, &room.states, Some("M3.3"));
        assert!(wrong.contains_key(topic), "version {version}");
    }
}
