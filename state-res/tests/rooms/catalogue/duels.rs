//! People of power against each other.

use super::room::*;

/// Nobody can take power from an equal or send one out: such events fail by their own auth events, so that there is no
/// duel for resolution to decide.
#[test]
fn equals_have_no_power_over_each_other() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 75), ("carol", 75)]);
        // The last rule for bans and that for kicks; and that for changing another user's level.
        r.refused("ban", "bob", ban("carol"), ".3");
        r.fork(&["start"]);
        r.refused("kick", "bob", leave("carol"), ".5");
        r.fork(&["start"]);
        r.refused("demotion", "bob", power(&[("alice", 100), ("bob", 75), ("carol", 0)]), ".1");
    });
}

/// Alice demotes Bob while Bob, earlier by his clock, demotes Carol.
///
/// Hers first, for she has more power; his then comes from someone with nothing. In version 1 his, of less depth, is first and
/// unchecked, and hers on top of it leaves nothing of it.
#[test]
fn the_stronger_wins_a_duel() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 75), ("carol", 50)]);
        r.put("bob_demoted", "alice", power(&[("alice", 100), ("bob", 0), ("carol", 50)]));
        r.fork(&["start"]);
        r.at(1).at_depth(1).put("carol_demoted", "bob", power(&[("alice", 100), ("bob", 75), ("carol", 0)]));
        r.resolve(&[after("bob_demoted"), after("carol_demoted")]).has(&["bob_demoted"]);
    });
}

/// Alice bans Bob while Bob closes the room and bans Carol.
///
/// Bob's join, in conflict and cited by all of it, comes first; then the ban by power; then nothing of Bob's is allowed. In
/// version 1 his membership is in conflict, so while join rules are resolved there is no Bob who could change them.
#[test]
fn the_banned_take_nobody_with_them() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 75), ("carol", 0)]);
        r.put("bob_banned", "alice", ban("bob"));
        r.fork(&["start"]);
        r.at(1).put("closed", "bob", join_rule("invite"));
        r.at(2).put("carol_banned", "bob", ban("carol"));
        r.resolve(&[after("bob_banned"), after("carol_banned")]).has(&["bob_banned", "public", "carol"]);
    });
}

/// Three states at once: Alice demotes Bob, Bob bans Carol, Carol, whom Bob outranks, sets a topic.
///
/// The demotion comes first by power, so the ban fails, so the topic stays. Taken two by two from the other end, Bob's ban would
/// first have undone the topic: what is resolved together must be resolved together.
#[test]
fn three_sides_are_resolved_at_once() {
    in_versions(2..=12, |r| {
        r.begin(&[("bob", 75), ("carol", 50)]);
        r.put("demotion", "alice", power(&[("alice", 100), ("bob", 0), ("carol", 50)]));
        r.fork(&["start"]);
        r.put("ban", "bob", ban("carol"));
        r.fork(&["start"]);
        r.put("topic", "carol", topic("carol's"));
        r.resolve(&[after("demotion"), after("ban"), after("topic")]).has(&["demotion", "carol", "topic"]);
        r.resolve(&[after("ban"), after("topic")]).has(&["ban"]).has_nothing_like(&["topic"]);
    });
}
