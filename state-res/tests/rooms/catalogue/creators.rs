//! Creators, rooms' beginnings, and who may begin again.

use serde_json::json;
use state_res::{auth::is_creator, room_version::RoomVersion};

use super::room::*;

/// On the first creator's server: rule 1.2 wants the domain of the room id.
const MALLORY: &str = "@mallory:alice.example";

/// A second create event for the same room, by someone on the first creator's server, with members of its own.
///
/// Versions 1 to 11 allow it (rule 1 knows no room that is there already). From 2: all power events and their chains,
/// which both create events are part of, stand in one line, here by time, as all senders have 100 by their own create event. So
/// Mallory's create event replaces Alice's; but when Mallory's power levels come Alice's are in place, and do not know Mallory.
/// Version 1, taking the deeper create event at the end, comes to the same. What is pinned is that the first power levels
/// survive; that the creator is replaced is a wound of these versions.
///
/// (The oracle takes it that all senders' power goes by one create event, any one of them.)
///
/// In version 12 the room id is the create event's, so that a second one begins another room.
#[test]
fn a_second_creator_replaces_the_first() {
    in_versions(1..=11, |r| {
        r.begin(&[("bob", 50)]);
        r.at_depth(100).create("usurper", MALLORY, MALLORY);
        r.put("mallory", MALLORY, join(MALLORY));
        r.put("usurped", MALLORY, power(&[(MALLORY, 100)]));
        let outcome = r.resolve_without_oracle(&[after("start"), after("usurped")]);
        outcome.has(&["usurper", "power", "alice", "bob"]);
    });
    in_versions(V2_1, |r| {
        r.begin(&[("bob", 50)]);
        r.create("usurper", MALLORY, MALLORY);
        assert_ne!(r.event("usurper").room_id(), r.event("create").room_id());
        // An event after it that claims to be in the first room does not find its creator there.
        r.refused("mallory", MALLORY, join(MALLORY), "5.3.7");
    });
}

/// Alice, who made the room, has stepped down and is banned. She joins a second time right after the create event.
///
/// Rule 5.2.1 (4.2.1, 4.3.1), which allows it, comes before 5.2.3, which would ask whether she is banned. Nothing cites this
/// join, so it is applied after all power events, the ban among them. In version 1 a great depth puts it last. Thus in
/// versions 1 to 11 a creator cannot be kept out of the room. In version 12 a creator cannot be banned at all.
#[test]
fn a_banned_creator_begins_again() {
    in_versions(1..=11, |r| {
        r.begin(&[("bob", 100)]);
        r.put("resignation", "alice", power(&[("alice", 0), ("bob", 100)]));
        r.put("ban", "bob", ban("alice"));
        r.fork(&["create"]);
        r.at_depth(1_000).put("again", "alice", join("alice"));
        r.resolve(&[after("ban"), after("again")]).has(&["again", "resignation"]);
    });
    in_versions(1..=1, |r| {
        // With an honest depth the ban is allowed on top.
        r.begin(&[("bob", 100)]);
        r.put("resignation", "alice", power(&[("alice", 0), ("bob", 100)]));
        r.put("ban", "bob", ban("alice"));
        r.fork(&["create"]);
        r.put("again", "alice", join("alice"));
        r.resolve(&[after("ban"), after("again")]).has(&["ban", "resignation"]);
    });
    in_versions(V2_1, |r| {
        r.begin(&[("bob", 100)]);
        r.refused("ban", "bob", ban("alice"), "5.6.3");
    });
}

/// Bob, of Alice's level, demotes and bans her once she has stepped down; in version 12 she cannot step down.
///
/// To version 11 a creator's power is what the power levels say. In version 12 it is infinite, and power levels that name
/// a creator are refused (10.4), so that no race about it can begin.
#[test]
fn creators_cannot_be_dethroned_from_version_12() {
    in_versions(1..=11, |r| {
        r.begin(&[("bob", 100)]);
        r.refused("coup", "bob", power(&[("alice", 0), ("bob", 100)]), ".1");
        r.fork(&["start"]);
        r.put("resignation", "alice", power(&[("alice", 0), ("bob", 100)]));
        r.put("ban", "bob", ban("alice"));
    });
    in_versions(V2_1, |r| {
        r.begin(&[("bob", 100)]);
        for (name, sender) in [("coup", "bob"), ("resignation", "alice")] {
            r.fork(&["start"]);
            let named = power_and(&[("alice", 0), ("bob", 100)], json!({ "name_creators": true }));
            r.refused(name, sender, named, "10.4");
        }
        r.fork(&["start"]);
        r.refused("kick", "bob", leave("alice"), "5.5.5");
    });
}

/// To version 10 the creator is whom the create event's content names, from 11 its sender: a create event that Mallory sends
/// and that names Alice makes Alice the one who may join first, and then Mallory.
#[test]
fn the_creator_is_named_or_the_sender() {
    in_versions(ALL, |r| {
        let by_content = r.version <= RoomVersion::V10;
        assert_eq!(r.version.rules().auth.creator_in_content, by_content);
        r.create("other", MALLORY, "alice");
        let create = r.event("other");
        assert_eq!(is_creator(create, &user("alice")), by_content);
        assert_eq!(is_creator(create, MALLORY), !by_content);
    });
}
