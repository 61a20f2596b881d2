//! Room versions 2 to 12 against `ruma-state-res`, on generated rooms.

use std::collections::BTreeSet;

use serde_json::Value;
use state_res::room_version::RoomVersion;

use crate::{
    generated::{Room, State, room},
    ruma,
};

/// How many rooms are generated for each room version.
const ROOMS: u64 = 900;

/// Resolves as the oracle does, except where the specification decides otherwise: the oracle follows the auth chains of power
/// events only as long as they stay in the full conflicted set, and the definition of *X* in step 1 knows no such limit.
#[test]
fn agrees_with_the_oracle() {
    println!("{:<8} {:>6} {:>10} {:>13} {:>6} {:>6}", "version", "rooms", "conflicts", "power levels", "bans", "joins");
    let (mut differing, mut other_chains, mut other_outcomes) = (Vec::new(), 0, 0);
    for version in RoomVersion::ALL.into_iter().filter(|version| *version != RoomVersion::V1) {
        let (mut conflicting, mut power_levels, mut bans, mut joins) = (0, 0, 0, 0);
        for seed in 0..ROOMS {
            let mut room = room(version, seed);
            let conflicts = room.conflicts();
            conflicting += u64::from(conflicts.any);
            power_levels += u64::from(conflicts.power_levels);
            bans += u64::from(conflicts.bans);
            joins += u64::from(conflicts.joins);
            let states = room.states.clone();
            let oracle = ruma::resolve(version, &states, &room.store.events, &room.store.rejected);
            let ours = room.store.resolve(version, &states);
            let leaves = version < RoomVersion::V12 && chains_leave_the_conflict(&room);
            other_chains += u64::from(leaves);
            if oracle.as_ref() != Ok(&ours) {
                if leaves {
                    other_outcomes += 1;
                } else {
                    println!("version {version}, seed {seed}: {}", describe(&ours, &oracle));
                    differing.push((version, seed));
                }
            }
            let reversed: Vec<State> = states.iter().rev().cloned().collect();
            let again = room.store.resolve(version, &reversed);
            assert_eq!(again, ours, "version {version}, seed {seed}: the order of the states shows");
        }
        println!("{version:<8} {ROOMS:>6} {conflicting:>10} {power_levels:>13} {bans:>6} {joins:>6}");
        assert!(power_levels > 0 && bans > 0 && joins > 0);
    }
    println!(
        "chains that leave the full conflicted set: in {other_chains} rooms, of which {other_outcomes} resolve otherwise"
    );
    assert!(differing.is_empty(), "{differing:?}");
    assert!(other_chains < 10 * ROOMS / 20, "too few rooms are left to compare");
    assert!(other_outcomes > 0, "the oracle has come to agree: remove the exception");
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

fn describe(ours: &State, oracle: &Result<State, String>) -> String {
    let oracle = match oracle {
        Ok(oracle) => oracle,
        Err(error) => return format!("the oracle fails: {error}"),
    };
    let places = ours.keys().chain(oracle.keys()).filter(|place| ours.get(*place) != oracle.get(*place));
    places.map(|place| format!("{place:?}: ours {:?}, oracle {:?}; ", ours.get(place), oracle.get(place))).collect()
}
