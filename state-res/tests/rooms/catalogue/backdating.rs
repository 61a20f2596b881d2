//! Events that lie about when they were sent. Nothing checks `origin_server_ts`, and `depth` hardly.

use serde_json::json;

use super::room::*;

/// Two topics beside each other, one of them dated far in the future.
///
/// Both cite the same power levels, so from version 2 time decides, and the later one is applied last. Version 1 takes the
/// deeper one instead.
#[test]
fn a_topic_from_the_future_wins() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 50)]);
        r.put("message", "alice", state("x", "", json!({})));
        r.put("topic", "alice", topic("now"));
        r.fork(&["start"]);
        r.at(i64::from(i32::MAX) * 1_000).put("future", "bob", topic("then"));
        let winner = if r.is_v1() { "topic" } else { "future" };
        r.resolve(&[after("topic"), after("future")]).has(&[winner]);
    });
}

/// The same where the power levels have changed since: the honest topic cites the new ones.
///
/// Mainline comes before time: the topic from the future is based on older power levels and is applied first. So a change of
/// power levels is what ends the reign of such a topic.
#[test]
fn newer_power_levels_beat_the_future() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 50)]);
        r.put("changed", "alice", power(&[("alice", 100), ("bob", 51)]));
        r.put("topic", "alice", topic("now"));
        r.fork(&["start"]);
        r.at(i64::from(i32::MAX) * 1_000).put("future", "bob", topic("then"));
        r.resolve(&[after("topic"), after("future")]).has(&["changed", "topic"]);
    });
}

/// A topic replaces another, dated before it; a fork from between is merged.
///
/// Neither is a power event and both have one mainline position: from version 2 the older date is applied first and the topic
/// goes back, though everybody who saw both knows which one followed the other. Version 1 takes the deeper one.
#[test]
fn a_backdated_topic_is_undone_by_a_fork() {
    in_versions(ALL, |r| {
        r.begin(&[("bob", 50)]);
        r.at(500).put("first", "alice", topic("first"));
        r.at(400).put("second", "bob", topic("second"));
        r.fork(&["first"]);
        r.put("aside", "alice", state("x", "", json!({})));
        let winner = if r.is_v1() { "second" } else { "first" };
        r.resolve(&[after("second"), after("aside")]).has(&[winner]);
    });
}

/// The room is closed to all but the invited; Eve joins beside that, dated before it.
///
/// Join rules are power events, memberships of one's own are not: the closing comes first, whatever the dates, and Eve, whom nobody
/// invited, stays out. Version 1, to which one event alone is no conflict, lets her in.
#[test]
fn a_backdated_join_finds_the_door_closed() {
    in_versions(ALL, |r| {
        r.begin(&[]);
        r.put("closed", "alice", join_rule("invite"));
        r.fork(&["start"]);
        r.at(1).put("eve", "eve", join("eve"));
        let v1 = r.is_v1();
        let outcome = r.resolve(&[after("closed"), after("eve")]);
        outcome.has(&["closed"]);
        if v1 {
            outcome.has(&["eve"]);
        } else {
            outcome.has_nothing_like(&["eve"]);
        }
    });
}

/// Eve, kicked from a room that is open to the invited only, joins on the strength of her old invite.
///
/// After the kick the event's own auth events, those from before it, allow the join and the state does not. Beside the kick it
/// is accepted, as a join of someone who is in; in resolution the kick, a power event, is first, and then she is not invited. In version
/// 1 the kick is allowed on top of the join, and the join not on top of the kick.
#[test]
fn an_old_invite_is_used_again() {
    in_versions(ALL, |r| {
        r.begin(&[]);
        r.put("closed", "alice", join_rule("invite"));
        r.put("invite", "alice", member("eve", "invite"));
        r.put("eve", "eve", join("eve"));
        r.put("kick", "alice", leave("eve"));
        r.citing_as_after("invite").refused_by_state("again", "eve", join("eve"), "");
        for (name, depth) in [("beside", 1), ("deeper", 1_000)] {
            r.fork(&["eve"]);
            r.at(1).at_depth(depth).put(name, "eve", join("eve"));
            r.resolve(&[after("kick"), after(name)]).has(&["kick"]);
        }
    });
}
