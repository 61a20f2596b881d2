//! Bans that reach a server after it has seen what the banned did meanwhile.

use serde_json::json;

use super::room::*;

/// Bob bans Eve; before Eve's server knows, she sets a topic.
///
/// From version 2 the ban is a power event, replayed before anything that is none; the topic, replayed after it, comes from
/// someone who is not joined (rule 6). Version 1 calls only two different events for one place a conflict, so the topic,
/// which the other state lacks, is taken over unseen.
#[test]
fn late_ban_undoes_what_was_done_meanwhile() {
    in_versions(ALL, |r| {
        r.begin_with(&[("bob", 50), ("eve", 0)], json!({ "events": { "m.room.topic": 0 } }));
        r.put("ban", "bob", ban("eve"));
        r.fork(&["start"]);
        r.put("spam", "eve", topic("spam"));
        let v1 = r.is_v1();
        let outcome = r.resolve(&[after("ban"), after("spam")]);
        outcome.has(&["ban"]);
        if v1 {
            outcome.has(&["spam"]);
        } else {
            outcome.has_nothing_like(&["spam"]);
        }
    });
}

/// Eve leaves and comes back beside the ban, so that hers is the newest event for her membership.
///
/// From version 2: the ban first, for it is the only power event; then her leave and her join, which a banned user may do
/// neither of (5.4.1, 5.2.3). Version 1 goes by depth: the ban, then the join, which is refused and ends the list.
#[test]
fn late_ban_holds_against_a_new_join() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 50), ("eve", 0)]);
        r.put("ban", "bob", ban("eve"));
        r.fork(&["start"]);
        r.put("left", "eve", leave("eve"));
        r.put("again", "eve", join("eve"));
        r.resolve(&[after("ban"), after("again")]).has(&["ban"]);
    });
}

/// The same with a join that says to be older and less deep than everything.
///
/// Time orders only events that are equal in power or on the mainline, and the ban is compared with neither. In version 1 the
/// list is now the join, then the ban, which is allowed on top of it.
#[test]
fn late_ban_holds_against_a_backdated_join() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 50), ("eve", 0)]);
        r.put("ban", "bob", ban("eve"));
        r.fork(&["start"]);
        r.at(1).at_depth(1).put("again", "eve", join("eve"));
        r.resolve(&[after("ban"), after("again")]).has(&["ban"]);
    });
}

/// Bob bans Eve, not knowing that Alice has taken his power away.
///
/// Alice's power levels come first, since she has more power than Bob in the auth events of each; with them Bob may not ban
/// (5.5.3). Version 1 resolves all power levels before any membership.
#[test]
fn ban_by_the_demoted_fails() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 50), ("eve", 0)]);
        r.put("demotion", "alice", power(&[("alice", 100), ("bob", 0)]));
        r.fork(&["start"]);
        r.put("ban", "bob", ban("eve"));
        r.resolve(&[after("demotion"), after("ban")]).has(&["demotion", "eve"]);
    });
}

/// Bob bans Eve, who kicks Carol meanwhile. Eve has the power to kick, Bob more.
///
/// Her join, which is in conflict and which both acts cite, comes first of all; then Bob's ban before Eve's kick, by power. The kick
/// then fails for she is not joined (5.4.2). In version 1 both memberships are in conflict, so in the pass for memberships
/// there is no Eve yet who could kick.
#[test]
fn late_ban_undoes_kicks_by_the_banned() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 75), ("eve", 50), ("carol", 0)]);
        r.put("ban", "bob", ban("eve"));
        r.fork(&["start"]);
        r.at(1).put("kick", "eve", leave("carol"));
        r.resolve(&[after("ban"), after("kick")]).has(&["ban", "carol"]);
    });
}
