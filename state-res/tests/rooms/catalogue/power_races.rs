//! Changes of power levels beside one another.

use serde_json::json;

use super::room::*;

/// Alice makes Carol a moderator and Bob, of equal power, Dave.
///
/// Both are power events of senders with 100, so the earlier one is first and the later one replaces it, since it may: it
/// takes from Carol, who has less than Bob. Somebody's change is lost; which, everybody agrees on. In version 12 Alice, a
/// creator, comes first whatever the time. Version 1 goes by depth.
#[test]
fn one_of_two_grants_is_lost() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 100), ("carol", 0), ("dave", 0)]);
        r.put("carols", "alice", power(&[("alice", 100), ("bob", 100), ("carol", 50)]));
        r.fork(&["start"]);
        let depth = r.event("carols").depth() + 1;
        r.at_depth(depth).put("daves", "bob", power(&[("alice", 100), ("bob", 100), ("dave", 50)]));
        r.resolve(&[after("carols"), after("daves")]).has(&["daves"]);
    });
}

/// The same with Bob's change dated before Alice's: in versions 2 to 11 hers now counts, in 12 still his.
#[test]
fn creators_go_first_whatever_the_time() {
    in_versions(2..=12, |r| {
        r.begin(&[("bob", 100), ("carol", 0), ("dave", 0)]);
        r.put("carols", "alice", power(&[("alice", 100), ("bob", 100), ("carol", 50)]));
        r.fork(&["start"]);
        r.at(1).put("daves", "bob", power(&[("alice", 100), ("bob", 100), ("dave", 50)]));
        let last = if r.is_v2() { "carols" } else { "daves" };
        r.resolve(&[after("carols"), after("daves")]).has(&[last]);
    });
}

/// Bob, a moderator whom Alice has just demoted, promotes Eve beside that, and dates it before everything.
///
/// Alice's power is greater, so hers is first, and Bob's fails for want of power. In version 1, going by depth, Bob's is first
/// and unchecked; but Alice's is allowed on top of it.
#[test]
fn demotion_beats_a_backdated_promotion() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 75), ("eve", 0)]);
        r.put("demotion", "alice", power(&[("alice", 100), ("bob", 0)]));
        r.fork(&["start"]);
        r.at(1).at_depth(1).put("promotion", "bob", power(&[("alice", 100), ("bob", 75), ("eve", 75)]));
        r.resolve(&[after("demotion"), after("promotion")]).has(&["demotion"]);
    });
}

/// Bob steps down. Later someone in possession of his server writes a promotion of Eve from before that, dated still earlier.
///
/// Both are Bob's, with 100, so the time decides: the promotion, then the resignation; and that takes 100 from Eve, which only
/// someone with more may (10.6.1 in version 2; another user's level must be below the sender's). So the promotion stays, and Bob has his power
/// again. Every algorithm has it so. Only the time of the forgery helps: dated after the resignation it fails.
#[test]
fn backdated_promotion_undoes_a_resignation() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 100), ("eve", 0)]);
        r.at(500).put("resignation", "bob", power(&[("alice", 100), ("bob", 0)]));
        r.fork(&["start"]);
        r.at(400).at_depth(1).put("forged", "bob", power(&[("alice", 100), ("bob", 100), ("eve", 100)]));
        r.resolve(&[after("resignation"), after("forged")]).has(&["forged"]);
        r.fork(&["start"]);
        r.at(600).at_depth(1_000).put("late", "bob", power(&[("alice", 100), ("bob", 100), ("eve", 99)]));
        r.resolve(&[after("resignation"), after("late")]).has(&["resignation"]);
    });
}

/// Alice promotes Bob, Bob promotes Carol; a fork from before knows of neither.
///
/// From version 2 the auth difference holds the promotion of Bob, so that of Carol, which needs it, is replayed on top. Version
/// 1 looks at nothing but the two ends, finds Carol's promotion by a Bob without power, and goes back to the beginning.
#[test]
fn promotions_survive_a_fork_from_before() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 0), ("carol", 0)]);
        r.put("bobs", "alice", power(&[("alice", 100), ("bob", 75)]));
        r.put("carols", "bob", power(&[("alice", 100), ("bob", 75), ("carol", 50)]));
        r.fork(&["start"]);
        r.put("topic", "alice", topic("before"));
        let last = if r.is_v1() { "power" } else { "carols" };
        r.resolve(&[after("carols"), after("topic")]).has(&[last]);
    });
}

/// Alice raises what it takes to ban while Bob, who no longer reaches it then, bans Carol and lowers it.
///
/// Alice first, by power; Bob's power levels then alter a level above his own (10.3.1 in version 2), and his ban lacks the level.
#[test]
fn levels_cannot_be_lowered_from_below() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 50), ("carol", 0)]);
        let users = [("alice", 100), ("bob", 50)];
        r.put("raised", "alice", power_and(&users, json!({ "ban": 100 })));
        r.fork(&["start"]);
        r.at(1).put("lowered", "bob", power_and(&users, json!({ "ban": 0 })));
        r.at(2).put("ban", "bob", ban("carol"));
        r.resolve(&[after("raised"), after("ban")]).has(&["raised", "carol"]);
    });
}
