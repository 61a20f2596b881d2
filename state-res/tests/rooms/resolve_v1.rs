//! Room version 1 against a second implementation: plain maps, no trees, straight from the page of the version.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use sha1::{Digest, Sha1};
use state_res::{auth::check, pdu::Pdu, room_version::RoomVersion};

use crate::generated::{Room, State, room};

/// How many rooms are generated.
const ROOMS: u64 = 2_000;

fn naive(room: &Room) -> State {
    let events = &room.store.events;
    let mut ids: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for state in &room.states {
        for (place, id) in state {
            ids.entry(place.clone()).or_default().insert(id.clone());
        }
    }
    // "Start by setting R to the union of the states to be resolved, excluding any conflicting events."
    let conflicting: BTreeMap<_, _> = ids.iter().filter(|(_, ids)| ids.len() > 1).collect();
    let mut r: State = ids
        .iter()
        .filter(|(_, ids)| ids.len() == 1)
        .map(|(place, ids)| (place.clone(), ids.first().unwrap().clone()))
        .collect();
    let hash = |event: &Pdu| Sha1::digest(event.event_id()).to_vec();
    let allowed = |event: &Pdu, r: &State| {
        let state: Vec<Pdu> = r.values().map(|id| events[id].clone()).collect();
        check(event, &state).is_ok()
    };
    for pass in ["m.room.power_levels", "m.room.join_rules", "m.room.member"] {
        let before = r.clone();
        for (place, ids) in conflicting.iter().filter(|(place, _)| place.0 == pass) {
            let mut list: Vec<&Pdu> = ids.iter().map(|id| &events[id]).collect();
            // "Sort the list by ascending depth then descending sha1(event_id)."
            list.sort_by_key(|event| (event.depth(), Reverse(hash(event))));
            let mut mine = before.clone();
            for (at, event) in list.iter().enumerate() {
                // "Add the first event in the list to R. For each subsequent event in the list, check that the event would be
                // allowed [...]. If it would not be allowed, stop."
                if at > 0 && !allowed(event, &mine) {
                    break;
                }
                mine.insert((*place).clone(), event.event_id().to_owned());
            }
            r.insert((*place).clone(), mine[*place].clone());
        }
    }
    // "Just pick the event with the highest depth and lowest sha1(event_id) that passes authentication in R."
    let before = r.clone();
    for (place, ids) in conflicting {
        if !["m.room.power_levels", "m.room.join_rules", "m.room.member"].contains(&place.0.as_str()) {
            let passing = ids.iter().map(|id| &events[id]).filter(|event| allowed(event, &before));
            if let Some(best) = passing.min_by_key(|event| (Reverse(event.depth()), hash(event))) {
                r.insert(place.clone(), best.event_id().to_owned());
            }
        }
    }
    r
}

#[test]
fn agrees_with_the_naive_one() {
    let (mut conflicting, mut power_levels, mut bans, mut joins) = (0, 0, 0, 0);
    for seed in 0..ROOMS {
        let mut room = room(RoomVersion::V1, seed);
        let conflicts = room.conflicts();
        conflicting += u64::from(conflicts.any);
        power_levels += u64::from(conflicts.power_levels);
        bans += u64::from(conflicts.bans);
        joins += u64::from(conflicts.joins);
        let expected = naive(&room);
        let states = room.states.clone();
        let ours = room.store.resolve(RoomVersion::V1, &states);
        assert_eq!(ours, expected, "seed {seed}");
        let reversed: Vec<_> = states.into_iter().rev().collect();
        assert_eq!(
            room.store.resolve(RoomVersion::V1, &reversed),
            expected,
            "seed {seed}: the order of the states shows"
        );
    }
    println!(
        "version 1: {ROOMS} rooms; with conflicts {conflicting}, of power levels {power_levels}, bans {bans}, joins {joins}"
    );
    assert!(power_levels > 0 && bans > 0 && joins > 0);
}
