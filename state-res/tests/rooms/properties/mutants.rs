//! The properties can fail: each of these mistakes breaks one, and the room that shows it becomes small.

use state_res::{
    auth::without_rule,
    room_version::RoomVersion,
    tree::{NewNodes, Root, insert},
};

use super::{
    Finding, Law,
    generate::version_of,
    laws::{Seen, check_all, check_laws},
    look,
};
use crate::{
    naive::{self, Fault},
    server::{Ours, Resolver, Server, State},
};

/// How many rooms a mistake may stay unnoticed in.
const ROOMS: u64 = 6_000;

/// How many events are enough to show any of them.
const SMALL: usize = 12;

/// The naive implementation with a mistake.
struct Mistaken(Fault);

impl Resolver for Mistaken {
    fn resolve(&self, version: RoomVersion, roots: &[Root], server: &Server) -> (Root, NewNodes) {
        let states: Vec<State> = roots.iter().map(|root| server.state(*root)).collect();
        if states.is_empty() {
            return (Root::EMPTY, NewNodes::new());
        }
        let resolved: Vec<_> = naive::resolve(version, server, &states, self.0).into_iter().collect();
        insert(server, Root::EMPTY, &resolved).unwrap()
    }
}

/// The first room, by seed, that shows a mistake. Version 1 is left out: the mistakes are in the other algorithms.
fn first(resolver: &dyn Resolver, law: Law) -> Option<Finding> {
    let mut seeds = (0..ROOMS).filter(|seed| version_of(*seed) != RoomVersion::V1);
    seeds.find_map(|seed| look(seed, resolver, law, &mut Seen::default()))
}

#[test]
fn mistakes_are_noticed() {
    // Each mistake, whether it takes the second implementation to notice it, and the laws that may show it first.
    let mistakes: [(Fault, Law, &[&str]); 7] = [
        (Fault::FirstStateWins, check_laws, &["any order of states"]),
        (Fault::ArrivalBreaksTies, check_laws, &["servers agree"]),
        (
            Fault::MapOrderBreaksTies,
            check_laws,
            &["the same again", "any order", "states given twice", "servers agree"],
        ),
        (Fault::NoTopology, check_laws, &["power levels stand", "a ban stands"]),
        (Fault::RechecksAgreedState, check_laws, &["idempotent", "what is agreed stays"]),
        (Fault::NoStepFive, check_laws, &["what is agreed stays"]),
        (Fault::BansYield, check_laws, &["a ban stands"]),
    ];
    for (fault, law, expected) in mistakes {
        let finding = first(&Mistaken(fault), law).unwrap_or_else(|| panic!("{fault:?} is not noticed"));
        report(&format!("{fault:?}"), &finding, expected);
    }
    assert!(first(&Mistaken(Fault::None), check_all).is_none(), "the naive implementation itself is wrong");
}

/// A rule that is switched off is noticed by what it protects. The numbers are those of room version 10.
#[test]
fn missing_rules_are_noticed() {
    let rules: [(&str, &str, &[&str]); 2] = [
        ("4.3.3", "whoever is banned cannot join", &["a ban stands"]),
        ("9.9.1", "nobody gives more power than they have", &["nobody gives what they lack"]),
    ];
    for (number, what, expected) in rules {
        let noticed = without_rule(RoomVersion::V10, number, || first(&Ours, check_laws));
        let finding = noticed.unwrap().unwrap_or_else(|| panic!("without rule {number} ({what}) all laws hold"));
        report(&format!("without rule {number}"), &finding, expected);
    }
}

fn report(what: &str, finding: &Finding, expected: &[&str]) {
    let Finding { seed, broken, acts, small } = finding;
    println!("{what}: seed {seed} breaks \"{}\", shrunk from {acts} to {} events", broken.law, small.acts.len());
    assert!(expected.iter().any(|law| broken.law.starts_with(law)), "{what}: {}", finding.describe());
    assert!(small.acts.len() <= SMALL, "{what} should show in a small room: {}", finding.describe());
}
