//! The authorisation rules against `ruma-state-res`, on generated states and events.
//!
//! What is not generated, because the oracle decides it otherwise than the specification:
//!
//! - The oracle refuses an `m.room.member` event whose state key is no user id. No rule does
//!   (`state_keys_of_members_are_free`).
//! - The oracle refuses floats as power levels, which room versions 1 to 5 allow ("`m.room.power_levels` events accept
//!   values as floats"; the clause tests have it).
//! - To version 9 the oracle refuses a first `m.room.power_levels` event with levels outside `users` that it cannot read.
//!   Rule 10.2 (9.2) allows it (the clause tests have it).
//! - The oracle refuses any event in a room whose `m.federate` is no boolean; rule 3 names `false` alone
//!   (`federate_is_false_or_not`).
//! - The oracle takes it as given that a create event's room version is a known one (rule 1.3).

use serde_json::json;
use state_res::{
    auth::{check, counting_rules},
    room_version::RoomVersion,
};

use crate::{
    proposals::{Generator, Verdicts, judge, table, table_head},
    ruma,
    support::{Fixture, in_parallel},
};

/// How many events are generated for each room version.
const EVENTS: u64 = 4_000;

/// What we and the oracle say of events in states, and how often each rule decided.
#[test]
fn agrees_with_the_oracle() {
    let outcomes = in_parallel(&RoomVersion::ALL, |version| {
        let mut verdicts = Verdicts::default();
        let ((), counts) = counting_rules(*version, || {
            for seed in 0..EVENTS {
                let mut g = Generator::new(*version, seed);
                let f = g.fixture();
                let state = g.state(&f);
                judge(&mut g, &f, state, &mut verdicts, &format!("seed {seed}"));
            }
        });
        table(*version, &counts, verdicts)
    });
    println!("{}", table_head());
    let mut idle = Vec::new();
    for (table, never) in outcomes {
        println!("{table}");
        idle.extend(never);
    }
    assert!(idle.is_empty(), "generated events do not reach both outcomes of these rules: {idle:#?}");
}

/// No rule asks that the state key of `m.room.member` is a user id.
#[test]
fn state_keys_of_members_are_free() {
    for version in RoomVersion::ALL {
        let f = Fixture::new(version);
        let state = f.room(vec![]);
        let event = f.change("@alice:a", "nobody", "ban");
        assert_eq!(check(&event, &state), Ok(()));
        assert!(ruma::check(&ruma::version_rules(version).authorization, &event, &state).is_err());
    }
}

/// Rule 3 (4) keeps others out if `m.federate` is `false`; other values are as if it were absent.
#[test]
fn federate_is_false_or_not() {
    for version in RoomVersion::ALL {
        let f = Fixture::with_create(version, json!({ "m.federate": "false" }));
        let state = f.room(vec![f.member("@bob:b", "join")]);
        let event = f.event(json!({ "sender": "@bob:b" }));
        assert_eq!(check(&event, &state), Ok(()));
        assert!(ruma::check(&ruma::version_rules(version).authorization, &event, &state).is_err());
    }
}
