//! Properties of rooms with hostile histories, each generated from a seed.
//!
//! `hold_for_generated_rooms` prints which seeds it takes. `ROOM_SEEDS=17` makes it look at that room alone, `ROOM_SEEDS=0..5000`
//! at those. A room that breaks a law is made smaller and printed.

mod generate;
mod laws;
mod mutants;
mod plan;
mod shrink;

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

use state_res::room_version::StateResolution;

use self::{
    generate::{generate, version_of},
    laws::{Broken, Seen, check_all},
    plan::{Plan, Room},
};
use crate::{
    server::{Ours, Resolver},
    support::in_parallel,
};

/// The rooms that are looked at unless told otherwise.
const SEEDS: Range<u64> = 0..100_000;

/// How many seeds one thread takes at a time.
const CHUNK: u64 = 250;

type Law = fn(&Plan, &mut Room<'_>, &mut Seen) -> Result<(), Broken>;

/// A room that breaks a law.
struct Finding {
    seed: u64,
    broken: Broken,
    acts: usize,
    small: Plan,
}

impl Finding {
    fn describe(&self) -> String {
        let Finding { seed, broken: Broken { law, how }, acts, small } = self;
        format!(
            "seed {seed} breaks \"{law}\"; of its {acts} events {} are enough:\n{small}{how}\nTo see it again: ROOM_SEEDS={seed} \
             cargo test -p state-res --test rooms hold_for_generated_rooms",
            small.acts.len()
        )
    }
}

/// Looks at the room of a seed; if it breaks a law, at the smallest one like it.
fn look(seed: u64, resolver: &dyn Resolver, law: Law, seen: &mut Seen) -> Option<Finding> {
    let (plan, mut room) = generate(seed, resolver);
    let broken = law(&plan, &mut room, seen).err()?;
    let acts = plan.acts.len();
    let breaks = |plan: &Plan| law(plan, &mut Room::of(plan, resolver), &mut Seen::default()).err();
    let small = shrink::shrink(plan, |plan| breaks(plan).is_some_and(|again| again.law == broken.law));
    // A law about chance, such as the order of a map, may hold this once.
    let broken = breaks(&small).unwrap_or(broken);
    Some(Finding { seed, broken, acts, small })
}

/// The seeds in `ROOM_SEEDS`, one or a range.
fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("ROOM_SEEDS") else { return SEEDS };
    let number =
        |text: &str| text.trim().parse().unwrap_or_else(|_| panic!("ROOM_SEEDS is not a seed or a range: {text}"));
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(&text)..number(&text) + 1,
    }
}

/// The order of arrival, of the states and of maps does not show; resolving is idempotent; servers agree; bans and grants stand
/// where they and their authors' rights are not in conflict; and the result is what the specification says.
#[test]
fn hold_for_generated_rooms() {
    let seeds = seeds();
    println!("rooms of the seeds {seeds:?}");
    let stop = AtomicBool::new(false);
    let chunks: Vec<Range<u64>> =
        seeds.clone().step_by(CHUNK as usize).map(|from| from..(from + CHUNK).min(seeds.end)).collect();
    let outcomes = in_parallel(&chunks, |chunk| {
        let mut seen = [Seen::default(); 3];
        for seed in chunk.clone() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if let Some(finding) = look(seed, &Ours, check_all, &mut seen[algorithm(seed)]) {
                stop.store(true, Ordering::Relaxed);
                return (seen, Some(finding));
            }
        }
        (seen, None)
    });
    let findings: Vec<String> =
        outcomes.iter().filter_map(|(_, finding)| finding.as_ref()).map(Finding::describe).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n\n"));
    let mut all = [Seen::default(); 3];
    for (seen, _) in &outcomes {
        all.iter_mut().zip(seen).for_each(|(all, seen)| all.add(seen));
    }
    let columns = [
        "rooms",
        "events",
        "by auth",
        "by state",
        "conflicts",
        "power",
        "bans",
        "joins",
        "ban stands",
        "power stands",
        "raises",
    ];
    println!("{:<10}{}", "algorithm", columns.map(|column| format!("{column:>13}")).concat());
    for (name, seen) in ["1", "2", "2.1"].into_iter().zip(&all) {
        let counts = [
            seen.rooms,
            seen.events,
            seen.rejected_by_auth_events,
            seen.rejected_by_state,
            seen.conflicts,
            seen.power_levels,
            seen.bans,
            seen.joins,
            seen.standing_bans,
            seen.standing_grants,
            seen.raises,
        ];
        println!("{name:<10}{}", counts.map(|count| format!("{count:>13}")).concat());
        if seen.rooms > 5_000 {
            for (column, count) in columns.iter().zip(counts) {
                assert!(count > seen.rooms / 250, "algorithm {name}: too little of \"{column}\" to show anything");
            }
        }
    }
}

fn algorithm(seed: u64) -> usize {
    match version_of(seed).rules().state_resolution {
        StateResolution::V1 => 0,
        StateResolution::V2 => 1,
        StateResolution::V2_1 => 2,
    }
}
