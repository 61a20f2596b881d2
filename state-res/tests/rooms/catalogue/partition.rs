//! Two halves of a room that do not hear of each other for a while.

use serde_json::json;

use super::room::*;

const CROWD: [&str; 8] = ["u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8"];
const GONE: [&str; 8] = ["u1_left", "u2_left", "u3_left", "u4_left", "u5_left", "u6_left", "u7_left", "u8_left"];

fn crowded(r: &mut Room) {
    let crowd: Vec<_> = CROWD.iter().map(|name| (*name, 0)).collect();
    r.begin(&crowd);
}

/// Everybody leaves on one side while the other goes on: Alice changes the power levels, sets a topic and closes the room.
///
/// From version 2 joins and leaves are replayed in turn. All are of one mainline position, based on the older power levels, so
/// by time: the joins, refused now that the room is closed, but no leave needs them: whoever's membership is not in
/// the state yet has that which the leave cites. In version 1 the leaves are deeper than the joins and allowed on top. Nobody comes back.
#[test]
fn a_mass_leave_is_not_undone() {
    in_versions(ALL, |r| {
        crowded(r);
        for (name, gone) in CROWD.into_iter().zip(GONE) {
            r.put(gone, name, leave(name));
        }
        r.fork(&["start"]);
        r.put("changed", "alice", power_and(&[("alice", 100)], json!({ "kick": 60 })));
        r.put("topic", "alice", topic("where is everybody?"));
        r.put("closed", "alice", join_rule("invite"));
        r.resolve(&[after("u8_left"), after("closed")]).has(&GONE).has(&["changed", "topic", "closed"]);
    });
}

/// The other way about: the room is closed and everybody removed on one side, while on the other they chat and change their names.
///
/// Kicks are power events: first. The joins that carry new names follow, of people who are out and not invited. Version 1: the
/// kick, then the deeper join, refused; or the other way round, allowed.
#[test]
fn a_mass_removal_is_not_undone() {
    in_versions(ALL, |r| {
        crowded(r);
        r.put("closed", "alice", join_rule("invite"));
        for (name, gone) in CROWD.into_iter().zip(GONE) {
            r.put(gone, "alice", leave(name));
        }
        r.fork(&["start"]);
        let renamed = ["u1_new", "u2_new", "u3_new", "u4_new", "u5_new", "u6_new", "u7_new", "u8_new"];
        for (name, new) in CROWD.into_iter().zip(renamed) {
            let content = json!({ "membership": "join", "displayname": "somebody else" });
            r.put(new, name, state("m.room.member", &user(name), content));
        }
        r.resolve(&[after("u8_left"), after("u8_new")]).has(&GONE).has(&["closed"]);
    });
}

/// Someone leaves a public room, by a clock that is behind the one by which they joined; a fork from before is merged.
///
/// The leave is no power event. By time it comes before the join, whose replay then brings its author back: from version 2
/// the specification has it so, for every event of one mainline position. Version 1 goes by depth, and they stay away.
#[test]
fn a_backdated_leave_is_undone() {
    in_versions(ALL, |r| {
        r.begin(&[("eve", 0)]);
        r.at(1).put("left", "eve", leave("eve"));
        r.fork(&["start"]);
        r.put("topic", "alice", topic("meanwhile"));
        let last = if r.is_v1() { "left" } else { "eve" };
        r.resolve(&[after("left"), after("topic")]).has(&[last, "topic"]);
    });
}

/// Both halves let the same stranger in, and one sends them away again.
///
/// Two joins of one user and a kick that cites one of them: the kick first (with the join that it cites), then the other join, into
/// a public room. What is in conflict is decided as if the kick had come before, and the stranger is in.
/// Version 1: by depth, the join is followed by the kick, and this by nothing.
#[test]
fn a_kick_does_not_bind_the_other_half() {
    in_versions(ALL, |r| {
        r.begin(&[]);
        r.put("here", "eve", join("eve"));
        r.put("kick", "alice", leave("eve"));
        r.fork(&["start"]);
        r.put("there", "eve", join("eve"));
        let last = if r.is_v1() { "kick" } else { "there" };
        r.resolve(&[after("kick"), after("there")]).has(&[last]);
    });
}
