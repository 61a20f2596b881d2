//! State resets: what was settled becomes unsettled though nobody revoked anything. Some come of states that lie, as a server gets
//! them with `/state_ids` from one that knows no better.

use serde_json::json;
use state_res::room_version::StateResolution;

use super::room::*;

/// Alice sets the join rules, then others, and leaves. A state in which the old rules still stand meets the right one.
/// (MSC4297, problem A.)
///
/// In version 2 the replay starts from what both states agree on, and there Alice has left: neither of her join rules is allowed, and
/// the room has none. In version 12 it starts from nothing, each event finds Alice joined in its own auth events, and the newer
/// rules win by time. In version 1 the older ones are taken unchecked, and the newer ones are refused.
#[test]
fn rules_of_someone_who_left() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 100)]);
        r.put("closed", "alice", join_rule("invite"));
        r.put("left", "alice", leave("alice"));
        let (v1, v2) = (r.is_v1(), r.is_v2());
        let outcome = r.resolve(&[after("left"), after_but("left", &["public"])]);
        if v2 {
            outcome.has_nothing_like(&["closed"]);
        } else {
            outcome.has(&[if v1 { "public" } else { "closed" }]);
        }
    });
}

/// The same with power levels: Alice changed them and left.
///
/// In version 2 the room falls back to no power levels at all, by which Bob has nothing and nobody is left who has anything.
#[test]
fn power_levels_of_someone_who_left() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 0)]);
        r.put("bobs", "alice", power(&[("alice", 100), ("bob", 100)]));
        r.put("left", "alice", leave("alice"));
        let (v1, v2) = (r.is_v1(), r.is_v2());
        let outcome = r.resolve(&[after("left"), after_but("left", &["power"])]);
        if v2 {
            outcome.has_nothing_like(&["power"]);
        } else {
            outcome.has(&[if v1 { "power" } else { "bobs" }]);
        }
    });
}

/// Alice promotes Bob, Bob promotes Carol. A state that has the first power levels still meets the right one; the auth chains
/// of both know everything. (MSC4297, problem B.)
///
/// The auth difference is empty, so Bob's promotion, between the two that are in conflict, is not replayed: in version 2 Carol's, without
/// it, fails. In version 12 the conflicted state subgraph has what lies between. Version 1 is as 2.
#[test]
fn a_promotion_between() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 0), ("carol", 0)]);
        r.put("bobs", "alice", power(&[("alice", 100), ("bob", 75)]));
        r.put("carols", "bob", power(&[("alice", 100), ("bob", 75), ("carol", 50)]));
        r.put("topic", "carol", topic("thank you"));
        let last = if r.version.rules().state_resolution == StateResolution::V2_1 { "carols" } else { "power" };
        r.resolve(&[after("topic"), after_but("topic", &["power"])]).has(&[last]);
    });
}

/// A state that still has Eve's first join meets one that has her later renaming, in a room that has been closed since she came.
///
/// Both of her joins are replayed. The first, into a room that was public, is refused now in versions 2 to 11, which start from the
/// closed room; the second then has the membership that it cites, the first join, and stands. In 12 each finds the rules it cites.
#[test]
fn a_member_from_before_the_door_closed() {
    in_versions(ALL, |r| {
        r.begin(&[("eve", 0)]);
        r.put("closed", "alice", join_rule("invite"));
        let renamed = json!({ "membership": "join", "displayname": "Eve" });
        r.put("renamed", "eve", state("m.room.member", &user("eve"), renamed));
        r.resolve(&[after("renamed"), after_but("renamed", &["eve"])]).has(&["renamed", "closed"]);
    });
}

/// Bob and Eve joined a public room, which was then closed. A state that lost Eve's membership meets one that has it.
///
/// In versions 2 to 11 her join is replayed against the closed room and refused: she is out, though she never left. In version 12 the
/// join finds the rules that it cites, and she stays. Version 1 takes over what only one state has.
///
/// Had the other state lost Bob's too, the old join rules would be in the auth chain of one state alone and so be replayed, and
/// everybody would stay.
#[test]
fn a_forgotten_member() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 0), ("eve", 0)]);
        r.put("closed", "alice", join_rule("invite"));
        r.fork(&["bob"]);
        r.put("aside", "alice", state("x", "", json!({})));
        let v2 = r.is_v2();
        let outcome = r.resolve(&[after("closed"), after_but("aside", &["closed"])]);
        outcome.has(&["bob", "closed"]);
        if v2 {
            outcome.has_nothing_like(&["eve"]);
        } else {
            outcome.has(&["eve"]);
        }
        r.fork(&["public"]);
        r.put("alone", "alice", state("x", "", json!({})));
        r.resolve(&[after("closed"), after_but("alone", &["closed"])]).has(&["bob", "eve", "closed"]);
    });
}

/// Bob bans Eve; then Alice demotes Bob. A fork from before both is merged.
///
/// Nothing in the auth events says that the ban came before the demotion. By power the demotion is first, and the ban is then by someone
/// without power: Eve is back. No algorithm prevents it, version 12's neither; a ban outlives its author's power only as
/// long as no fork puts it in question.
#[test]
fn a_demotion_undoes_earlier_bans() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 50), ("eve", 0)]);
        r.put("ban", "bob", ban("eve"));
        r.put("demotion", "alice", power(&[("alice", 100), ("bob", 0)]));
        r.fork(&["start"]);
        r.put("topic", "alice", topic("meanwhile"));
        r.resolve(&[after("demotion"), after("topic")]).has(&["demotion", "eve"]);
    });
}
