//! The crate's resolution against the one that follows docs/spec to the letter, on generated rooms and on the drawn examples; and
//! the latter without single clauses, against itself.

use std::collections::BTreeMap;

use state_res::room_version::RoomVersion;

use crate::{
    examples,
    generated::{Room, room},
    letter::{CLAUSES, resolve},
};

/// How many rooms are generated for each algorithm's first version, and for each other version.
const ROOMS: (u64, u64) = (2_000, 150);

fn rooms(version: RoomVersion) -> impl Iterator<Item = (String, Room)> {
    let first = [RoomVersion::V1, RoomVersion::V2, RoomVersion::V12].contains(&version);
    let count = if first { ROOMS.0 } else { ROOMS.1 };
    let generated = (0..count).map(move |seed| (format!("seed {seed}"), room(version, seed)));
    generated.chain(examples::rooms(version).into_iter().map(|(name, room)| (name.to_owned(), room)))
}

/// Every room resolves as the letter says, in whatever order its states are given.
// clause: M1.3, M1.5, M2.*, M3.*, M4.*, M5.*, M6.*
#[test]
pub(crate) fn agrees_with_the_letter() {
    println!("{:<8} {:>6} {:>10} {:>13} {:>6} {:>6}", "version", "rooms", "conflicts", "power levels", "bans", "joins");
    for version in RoomVersion::ALL {
        let (mut count, mut conflicting, mut power_levels, mut bans, mut joins) = (0, 0, 0, 0, 0);
        for (name, mut room) in rooms(version) {
            let conflicts = room.conflicts();
            count += 1;
            conflicting += u64::from(conflicts.any);
            power_levels += u64::from(conflicts.power_levels);
            bans += u64::from(conflicts.bans);
            joins += u64::from(conflicts.joins);
            let states = room.states.clone();
            let letter = resolve(version, &room.store, &states, None);
            assert_eq!(room.store.resolve(version, &states), letter, "version {version}, {name}");
            let reversed: Vec<_> = states.into_iter().rev().collect();
            assert_eq!(room.store.resolve(version, &reversed), letter, "version {version}, {name}: the order shows");
        }
        println!("{version:<8} {count:>6} {conflicting:>10} {power_levels:>13} {bans:>6} {joins:>6}");
        assert!(power_levels > 0 && bans > 0 && joins > 0);
    }
}

/// How many rooms that resolve otherwise are enough.
const ENOUGH: u64 = 10;

/// Without any one clause, some of these rooms resolve otherwise: so a resolution that lacks it would fail the test above.
/// Prints how many, up to [`ENOUGH`].
// clause: M2.*, M3.*, M4.*, M5.*, M6.*
#[test]
pub(crate) fn every_clause_matters() {
    let mut differing: BTreeMap<(&str, RoomVersion), u64> = BTreeMap::new();
    let versions = [RoomVersion::V1, RoomVersion::V2, RoomVersion::V12];
    for version in versions {
        // Those of chapter M2 are for version 1.
        let clauses = CLAUSES.iter().filter(|(clause, _)| clause.starts_with("M2") == (version == RoomVersion::V1));
        let mut missing: Vec<&str> = clauses.map(|(clause, _)| *clause).collect();
        for (_, room) in rooms(version).filter(|(_, room)| room.conflicts().any) {
            let right = resolve(version, &room.store, &room.states, None);
            missing.retain(|clause| {
                let wrong = resolve(version, &room.store, &room.states, Some(clause));
                let count = differing.entry((clause, version)).or_default();
                *count += u64::from(wrong != right);
                *count < ENOUGH
            });
        }
    }
    println!("{:<8} {:>4} {:>4} {:>4}  instead", "without", "v1", "v2", "v2.1");
    let mut idle = Vec::new();
    for (clause, instead) in CLAUSES {
        let counts = versions.map(|version| differing.get(&(*clause, version)).copied().unwrap_or_default());
        println!("{clause:<8} {:>4} {:>4} {:>4}  {instead}", counts[0], counts[1], counts[2]);
        if counts.iter().sum::<u64>() == 0 {
            idle.push(clause);
        }
    }
    assert!(idle.is_empty(), "no room resolves otherwise without these: {idle:?}");
}
