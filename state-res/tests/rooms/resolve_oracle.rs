//! Room versions 2 to 12 against `ruma-state-res`, on generated rooms.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use state_res::{auth::counting_rules, pdu::Pdu, room_version::RoomVersion};

use crate::{
    generated::{Room, State, Store, room},
    proposals::{Generator, Verdicts, judge, table, table_head},
    ruma,
    support::{create, in_parallel, pdu},
};

/// How many rooms are generated for each room version.
const ROOMS: u64 = 1_000;

/// How many of them must be left to compare.
const COMPARED: u64 = 10_000;

/// What is found in one version's rooms.
#[derive(Default)]
struct Found {
    conflicting: u64,
    power_levels: u64,
    bans: u64,
    joins: u64,
    /// Not compared, because [`chains_leave_the_conflict`].
    other_chains: u64,
    differing: Vec<String>,
    verdicts: Verdicts,
}

/// Resolves as the oracle does, except where the specification decides otherwise: the oracle follows the auth chains of power
/// events only as long as they stay in the full conflicted set, and the definition of *X* in step 1 knows no such limit.
///
/// Of the events that the rooms are made of, and of those proposed in each of the states, every rule allows some and refuses
/// some.
// clause: M3.*, M4.*, M5.*, M6.*
#[test]
pub(crate) fn agrees_with_the_oracle() {
    let versions: Vec<_> = RoomVersion::ALL.into_iter().filter(|version| *version != RoomVersion::V1).collect();
    let outcomes = in_parallel(&versions, |version| {
        let mut found = Found::default();
        let ((), counts) = counting_rules(*version, || (0..ROOMS).for_each(|seed| compare(*version, seed, &mut found)));
        let (table, idle) = table(*version, &counts, found.verdicts);
        (*version, found, table, idle)
    });
    println!("{}", table_head());
    outcomes.iter().for_each(|(_, _, table, _)| println!("{table}"));
    println!("{:<8} {:>6} {:>10} {:>13} {:>6} {:>6}", "version", "rooms", "conflicts", "power levels", "bans", "joins");
    let (mut differing, mut idle, mut other_chains) = (Vec::new(), Vec::new(), 0);
    for (version, found, _, never) in outcomes {
        let Found { conflicting, power_levels, bans, joins, .. } = found;
        println!("{version:<8} {ROOMS:>6} {conflicting:>10} {power_levels:>13} {bans:>6} {joins:>6}");
        assert!(power_levels > 0 && bans > 0 && joins > 0);
        differing.extend(found.differing);
        idle.extend(never);
        other_chains += found.other_chains;
    }
    let compared = ROOMS * versions.len() as u64 - other_chains;
    println!("compared: {compared} rooms");
    println!("not compared, because a power event's auth chain leaves the full conflicted set: {other_chains} rooms");
    assert!(differing.is_empty(), "{differing:#?}");
    assert!(idle.is_empty(), "generated events do not reach both outcomes of these rules: {idle:#?}");
    assert!(compared >= COMPARED, "too few rooms are left to compare");
}

/// Compares what we and the oracle make of one room, and says what was in it.
fn compare(version: RoomVersion, seed: u64, found: &mut Found) {
    let mut room = room(version, seed);
    let conflicts = room.conflicts();
    found.conflicting += u64::from(conflicts.any);
    found.power_levels += u64::from(conflicts.power_levels);
    found.bans += u64::from(conflicts.bans);
    found.joins += u64::from(conflicts.joins);
    let states = room.states.clone();
    let mut proposals = Generator::new(version, seed);
    for state in &states {
        let (fixture, events) = room.proposals_at(state);
        for _ in 0..2 {
            judge(&mut proposals, &fixture, events.clone(), &mut found.verdicts, &format!("seed {seed}"));
        }
    }
    let oracle = ruma::resolve(version, &states, &room.store.events, &room.store.rejected);
    let ours = room.store.resolve(version, &states);
    let leaves = version < RoomVersion::V12 && chains_leave_the_conflict(&room);
    found.other_chains += u64::from(leaves);
    if oracle.as_ref() != Ok(&ours) && !leaves {
        found.differing.push(format!("version {version}, seed {seed}: {}", describe(&ours, &oracle)));
    }
    let reversed: Vec<State> = states.iter().rev().cloned().collect();
    let again = room.store.resolve(version, &reversed);
    assert_eq!(again, ours, "version {version}, seed {seed}: the order of the states shows");
}

/// Whether some power event's auth chain leads out of the full conflicted set and in again, to an event that no chain inside
/// the set reaches.
fn chains_leave_the_conflict(room: &Room) -> bool {
    let events = &room.store.events;
    let walk = |from: Vec<&String>, within: Option<&BTreeSet<String>>| {
        let mut chain: BTreeSet<String> = BTreeSet::new();
        let mut stack: Vec<&String> = from;
        while let Some(at) = stack.pop() {
            for cited in events[at].auth_events() {
                if within.is_none_or(|within| within.contains(cited)) && chain.insert(cited.clone()) {
                    stack.push(cited);
                }
            }
        }
        chain
    };
    let chains: Vec<_> = room.states.iter().map(|state| walk(state.values().collect(), None)).collect();
    let in_all = |id: &String| chains.iter().all(|chain| chain.contains(id));
    let mut full: BTreeSet<String> = chains.iter().flatten().filter(|id| !in_all(id)).cloned().collect();
    for (place, id) in room.states.iter().flatten() {
        if room.states.iter().any(|state| state.get(place) != Some(id)) {
            full.insert(id.clone());
        }
    }
    let is_power_event = |id: &&String| {
        let event = &events[*id];
        let membership = event.content().get("membership").and_then(Value::as_str);
        match event.event_type() {
            "m.room.power_levels" | "m.room.join_rules" => true,
            "m.room.member" => matches!(membership, Some("leave" | "ban")) && event.state_key() != Some(event.sender()),
            _ => false,
        }
    };
    let power_events: Vec<&String> = full.iter().filter(is_power_event).collect();
    let mut inside = walk(power_events.clone(), Some(&full));
    inside.extend(power_events.iter().map(|id| (*id).clone()));
    walk(power_events, None).iter().any(|id| full.contains(id) && !inside.contains(id))
}

/// The case where the oracle differs. Alice's ban cites the power levels that Dora sent, which everybody has, and these cite
/// Dora's join, one of two that the states disagree on. So that join is in the auth chain of a power event and belongs to *X*:
/// it is applied before her other join, although that is older. The oracle, which stops at the power levels because nobody
/// disputes them, applies it after. In version 12 the conflicted state subgraph leads through the power levels, and both do
/// the same.
// clause: M6.2
#[test]
pub(crate) fn chains_lead_through_what_is_agreed() {
    for version in [RoomVersion::V2, RoomVersion::V6, RoomVersion::V11, RoomVersion::V12] {
        let v12 = version == RoomVersion::V12;
        let create = create(version, json!({}), json!({}));
        let event = |event_type: &str, state_key: &str, sender: &str, content: Value, ts: i64, cited: &[&Pdu]| {
            let cited = cited.iter().filter(|event| !v12 || event.event_type() != "m.room.create");
            let cited: Vec<_> = cited.map(|event| event.event_id()).collect();
            let fields = json!({
                "type": event_type, "state_key": state_key, "sender": sender, "content": content,
                "origin_server_ts": ts, "auth_events": cited, "room_id": create.room_id(),
                "prev_events": [create.event_id()],
            });
            pdu(version, fields)
        };
        let member = |user: &str, ts: i64, cited: &[&Pdu]| {
            event("m.room.member", user, user, json!({ "membership": "join" }), ts, cited)
        };
        let power = |sender: &str, ban: i64, ts: i64, cited: &[&Pdu]| {
            // A creator of version 12 has no level.
            let users = if v12 { json!({ "@dora:c": 100 }) } else { json!({ "@alice:a": 100, "@dora:c": 100 }) };
            event("m.room.power_levels", "", sender, json!({ "users": users, "ban": ban }), ts, cited)
        };
        let alice = member("@alice:a", 1, &[&create]);
        let first = power("@alice:a", 50, 2, &[&create, &alice]);
        let public = json!({ "join_rule": "public" });
        let rules = event("m.room.join_rules", "", "@alice:a", public, 3, &[&create, &alice, &first]);
        let dora = member("@dora:c", 4, &[&create, &first, &rules]);
        let newer = member("@dora:c", 10, &[&create, &first, &rules, &dora]);
        let older = member("@dora:c", 5, &[&create, &first, &rules, &dora]);
        let agreed = power("@dora:c", 60, 11, &[&create, &first, &newer]);
        let topic = event("m.room.topic", "", "@alice:a", json!({}), 12, &[&create, &agreed, &alice]);
        let banned = json!({ "membership": "ban" });
        let ban = event("m.room.member", "@emma:b", "@alice:a", banned, 13, &[&create, &agreed, &alice]);

        let place = |event: &Pdu| (event.event_type().to_owned(), event.state_key().unwrap().to_owned());
        let state = |own: &[&Pdu]| -> State {
            let all = [&create, &alice, &rules, &agreed, &topic].into_iter().chain(own.iter().copied());
            all.map(|event| (place(event), event.event_id().to_owned())).collect()
        };
        let states = vec![state(&[&newer, &ban]), state(&[&older])];
        let mut store = Store::default();
        for event in [&create, &alice, &first, &rules, &dora, &newer, &older, &agreed, &topic, &ban] {
            store.add(event.clone());
        }
        let ours = store.resolve(version, &states);
        let oracle = ruma::resolve(version, &states, &store.events, &store.rejected).unwrap();
        assert_eq!(ours[&place(&dora)], older.event_id(), "version {version}");
        let theirs = if v12 { &older } else { &newer };
        assert_eq!(oracle[&place(&dora)], theirs.event_id(), "version {version}");
        assert!(chains_leave_the_conflict(&Room { store, states }));
    }
}

fn describe(ours: &State, oracle: &Result<State, String>) -> String {
    let oracle = match oracle {
        Ok(oracle) => oracle,
        Err(error) => return format!("the oracle fails: {error}"),
    };
    let places = ours.keys().chain(oracle.keys()).filter(|place| ours.get(*place) != oracle.get(*place));
    places.map(|place| format!("{place:?}: ours {:?}, oracle {:?}; ", ours.get(place), oracle.get(place))).collect()
}
