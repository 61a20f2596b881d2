//! Joins for which a member vouches, and what becomes of them when that member is gone. Versions 8 to 12.

use serde_json::json;

use super::room::*;

/// A restricted room; Bob, an ordinary member, may vouch for others.
fn restricted(r: &mut Room) {
    r.begin(&[("bob", 0)]);
    r.put("restricted", "alice", join_rule("restricted"));
}

/// Bob leaves while Eve joins by his word.
///
/// Neither is a power event and both have one mainline position, so the time decides: after his leave nobody who is joined
/// vouches for her (4.3.5.2, 5.3.5.2); before it all is well, and what comes later does not undo her join.
#[test]
fn an_authoriser_leaves_meanwhile() {
    in_versions(8..=12, |r| {
        restricted(r);
        r.at(500).put("left", "bob", leave("bob"));
        for (name, ts, in_time) in [("after", 600, false), ("before", 400, true)] {
            r.fork(&["restricted"]);
            r.at(ts).put(name, "eve", join_by("eve", "bob"));
            let outcome = r.resolve(&[after("left"), after(name)]);
            outcome.has(&["left"]);
            if in_time {
                outcome.has(&[name]);
            } else {
                outcome.has_nothing_like(&[name]);
            }
        }
    });
}

/// Bob is kicked while Eve joins by his word. A kick is a power event and comes first, however early she says to have come.
#[test]
fn an_authoriser_is_kicked_meanwhile() {
    in_versions(8..=12, |r| {
        restricted(r);
        r.put("kick", "alice", leave("bob"));
        r.fork(&["restricted"]);
        r.at(1).put("eve", "eve", join_by("eve", "bob"));
        r.resolve(&[after("kick"), after("eve")]).has(&["kick"]).has_nothing_like(&["eve"]);
    });
}

/// Alice takes the right to invite from Bob meanwhile: the same.
#[test]
fn an_authoriser_loses_the_right_meanwhile() {
    in_versions(8..=12, |r| {
        restricted(r);
        r.put("raised", "alice", power_and(&[("alice", 100)], json!({ "invite": 50 })));
        r.fork(&["restricted"]);
        r.at(1).put("eve", "eve", join_by("eve", "bob"));
        r.resolve(&[after("raised"), after("eve")]).has(&["raised"]).has_nothing_like(&["eve"]);
    });
}

/// Eve's server cites the membership that Bob had before he left.
///
/// Her auth events are in order, the state before the join is not: rejected by check 5 on receipt of a PDU.
#[test]
fn an_authoriser_who_left_before() {
    in_versions(8..=12, |r| {
        restricted(r);
        r.put("left", "bob", leave("bob"));
        r.citing_as_after("restricted").refused_by_state("eve", "eve", join_by("eve", "bob"), ".5.2");
    });
}

/// Once in, Eve renames herself, which needs nobody's word. Bob is kicked beside that.
///
/// Her first join is replayed after the kick and refused. But the renaming then finds no membership of hers in the state and so has
/// the one it cites, which no server rejected: a member may join (4.3.5.1, 5.3.5.1). She stays, whether her first join
/// is in one state alone or in both: a second join covers what the first one lacks.
#[test]
fn a_member_needs_no_authoriser() {
    in_versions(8..=12, |r| {
        restricted(r);
        r.put("eve", "eve", join_by("eve", "bob"));
        r.put("kick", "alice", leave("bob"));
        r.fork(&["eve"]);
        let renamed = json!({ "membership": "join", "displayname": "Eve" });
        r.put("renamed", "eve", state("m.room.member", &user("eve"), renamed.clone()));
        r.resolve(&[after("kick"), after("renamed")]).has(&["kick", "renamed"]);
    });
    in_versions(8..=12, |r| {
        restricted(r);
        r.put("kick", "alice", leave("bob"));
        r.fork(&["restricted"]);
        r.put("eve", "eve", join_by("eve", "bob"));
        let renamed = json!({ "membership": "join", "displayname": "Eve" });
        r.put("renamed", "eve", state("m.room.member", &user("eve"), renamed));
        r.resolve(&[after("kick"), after("renamed")]).has(&["kick", "renamed"]);
    });
}
