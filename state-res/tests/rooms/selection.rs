//! Auth events selection, and that the rules see nothing else of a state.

use std::{cell::RefCell, collections::BTreeSet};

use serde_json::{Value, json};
use state_res::{
    auth::{StateLookup, auth_types, check, state_needed},
    pdu::Pdu,
    room_version::RoomVersion,
};

use crate::{
    generated::room,
    support::{Fixture, create},
};

const POWER: (&str, &str) = ("m.room.power_levels", "");
const RULES: (&str, &str) = ("m.room.join_rules", "");

fn member(user: &str) -> (&str, &str) {
    ("m.room.member", user)
}

fn content(content: &Value) -> &serde_json::Map<String, Value> {
    content.as_object().unwrap()
}

/// What is selected for each kind of event, written out.
// clause: D3.*
#[test]
pub(crate) fn selection() {
    for version in RoomVersion::ALL {
        let number = version.number();
        let check = |event_type: &str, state_key: Option<&str>, json: Value, expected: &[(&str, &str)]| {
            let mut expected = expected.to_vec();
            if number <= 11 {
                expected.insert(0, ("m.room.create", ""));
            }
            let selected = auth_types(version, event_type, "@bob:b", state_key, content(&json));
            assert_eq!(selected, expected, "version {version}: {event_type} {json}");
        };
        assert_eq!(auth_types(version, "m.room.create", "@bob:b", Some(""), content(&json!({}))), []);
        let bob = member("@bob:b");
        for other in ["m.room.message", "m.room.power_levels", "m.room.join_rules", "m.room.third_party_invite"] {
            check(other, Some("@carol:a"), json!({ "membership": "join" }), &[POWER, bob]);
        }
        let carol = member("@carol:a");
        for membership in ["leave", "ban", "dance"] {
            let json = json!({
                "membership": membership, "third_party_invite": { "signed": { "token": "t" } },
                "join_authorised_via_users_server": "@dora:c",
            });
            check("m.room.member", Some("@carol:a"), json, &[POWER, bob, carol]);
        }
        for membership in ["join", "invite", "knock"] {
            let json = json!({ "membership": membership });
            check("m.room.member", Some("@carol:a"), json.clone(), &[POWER, bob, carol, RULES]);
            // Sender and target are one.
            check("m.room.member", Some("@bob:b"), json.clone(), &[POWER, bob, RULES]);
            check("m.room.member", None, json, &[POWER, bob, RULES]);
        }
        let invite = json!({ "membership": "invite", "third_party_invite": { "signed": { "token": "t" } } });
        let token = ("m.room.third_party_invite", "t");
        check("m.room.member", Some("@carol:a"), invite, &[POWER, bob, carol, RULES, token]);
        for odd in [json!({}), json!({ "signed": { "token": 1 } }), json!("x")] {
            let invite = json!({ "membership": "invite", "third_party_invite": odd });
            check("m.room.member", Some("@carol:a"), invite, &[POWER, bob, carol, RULES]);
        }
        let join = |user: &str| json!({ "membership": "join", "join_authorised_via_users_server": user });
        let dora: &[_] = if number >= 8 { &[POWER, bob, RULES, member("@dora:c")] } else { &[POWER, bob, RULES] };
        check("m.room.member", Some("@bob:b"), join("@dora:c"), dora);
        check("m.room.member", Some("@bob:b"), join("@bob:b"), &[POWER, bob, RULES]);
    }
}

/// A state that remembers what it was asked for.
struct Watched<'a> {
    state: Vec<Pdu>,
    asked: &'a RefCell<BTreeSet<(String, String)>>,
}

impl StateLookup for Watched<'_> {
    fn get(&self, event_type: &str, state_key: &str) -> Option<Pdu> {
        self.asked.borrow_mut().insert((event_type.to_owned(), state_key.to_owned()));
        self.state.get(event_type, state_key)
    }
}

/// Whatever the event, the rules ask the state for nothing but what is selected for it and the create event.
// clause: D3.8
#[test]
pub(crate) fn nothing_else_is_looked_at() {
    for version in RoomVersion::ALL {
        let mut judged = 0;
        for seed in 0..20 {
            let room = room(version, seed);
            for event in room.store.events.values().filter(|event| event.event_type() != "m.room.create") {
                let asked = RefCell::default();
                let state = room.states[0].values().map(|id| room.store.events[id].clone()).collect();
                let _ = check(event, &Watched { state, asked: &asked });
                let needed: Vec<_> = state_needed(event);
                for (event_type, state_key) in asked.into_inner() {
                    let known = needed.contains(&(event_type.as_str(), state_key.as_str()));
                    assert!(known, "version {version}: {event_type} {state_key:?} for {event:?}");
                }
                judged += 1;
            }
        }
        assert!(judged > 200);
        // A create event needs nothing at all.
        let asked = RefCell::default();
        check(&create(version, json!({}), json!({})), &Watched { state: vec![], asked: &asked }).unwrap();
        assert!(asked.into_inner().is_empty());
        assert_eq!(Fixture::new(version).create.event_type(), "m.room.create");
    }
}
