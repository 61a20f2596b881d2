//! State: setting it, reading it, members.

use crate::actions::fields;
use crate::server::with_server;
use serde_json::json;

#[test]
fn state_is_read_back_by_every_form_of_the_path() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        let set = server.set_state(&alice, &room, "m.room.topic", json!({ "topic": "one" })).await.event_id();
        for path in ["state/m.room.topic", "state/m.room.topic/"] {
            assert_eq!(server.room_get(&alice, &room, path).await.ok(), json!({ "topic": "one" }));
        }
        let event = server.room_get(&alice, &room, "state/m.room.topic?format=event").await.ok();
        assert_eq!(
            (&event["event_id"], &event["room_id"], &event["state_key"]),
            (&json!(set), &json!(room), &json!(""))
        );
        server.room_get(&alice, &room, "state/m.room.topic?format=x").await.error(400, "M_INVALID_PARAM");
        server.set_state(&alice, &room, "m.room.topic/", json!({ "topic": "two" })).await.ok();
        assert_eq!(server.room_get(&alice, &room, "state/m.room.topic").await.ok(), json!({ "topic": "two" }));
        // State keys are anything, slashes included.
        server.set_state(&alice, &room, "org.example/a%2Fb", json!({ "n": 1 })).await.ok();
        assert_eq!(server.room_get(&alice, &room, "state/org.example/a%2Fb").await.ok(), json!({ "n": 1 }));
        server.room_get(&alice, &room, "state/org.example").await.error(404, "M_NOT_FOUND");
        // Setting what is set already changes nothing.
        let again = server.set_state(&alice, &room, "org.example/a%2Fb", json!({ "n": 1 })).await.event_id();
        let same = server.room_get(&alice, &room, "state/org.example/a%2Fb?format=event").await.ok();
        assert_eq!(same["event_id"], json!(again));
        let all = server.room_get(&alice, &room, "state").await.ok();
        let types = fields(&all, "type");
        for kind in ["m.room.create", "m.room.member", "m.room.power_levels", "m.room.topic", "org.example"] {
            assert_eq!(types.iter().filter(|one| *one == kind).count(), 1, "{kind}");
        }
        for path in ["state", "state/m.room.topic", "members", "joined_members", "aliases"] {
            server.room_get(&bob, &room, path).await.error(403, "M_FORBIDDEN");
            server.room_get(&alice, "!nowhere:example.org", path).await.error(403, "M_FORBIDDEN");
            server.room_get(&alice, "nowhere", path).await.error(400, "M_INVALID_PARAM");
        }
        server.join(&bob, &room).await;
        server.set_state(&bob, &room, "m.room.topic", json!({ "topic": "bob's" })).await.error(403, "M_FORBIDDEN");
        server.set_state(&bob, &room, "m.room.create", json!({})).await.error(403, "M_FORBIDDEN");
        assert_eq!(server.room_get(&bob, &room, "state/m.room.topic").await.ok(), json!({ "topic": "two" }));
    });
}

#[test]
fn content_that_no_such_event_can_have_is_named_as_bad() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        for version in ["10", "11", "12"] {
            let room = server.room(&alice, json!({ "room_version": version, "preset": "public_chat" })).await;
            server.join(&bob, &room).await;
            let creator = if version == "12" { json!({ alice.user_id.clone(): 100 }) } else { json!({ "alice": 100 }) };
            for bad in [
                json!({ "users_default": "0" }),
                json!({ "events": { "m.room.name": "50" } }),
                json!({ "users": { bob.user_id.clone(): [1] } }),
                json!({ "users": creator }),
            ] {
                server.set_state(&alice, &room, "m.room.power_levels", bad.clone()).await.error(400, "M_BAD_JSON");
                // Who may not is told that first.
                server.set_state(&bob, &room, "m.room.power_levels", bad).await.error(403, "M_FORBIDDEN");
            }
            let member = format!("m.room.member/{}", alice.user_id);
            server.set_state(&alice, &room, &member, json!({})).await.error(400, "M_BAD_JSON");
        }
    });
}

#[test]
fn who_has_left_sees_the_state_as_they_left_it() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        server.set_state(&alice, &room, "m.room.topic", json!({ "topic": "before" })).await.ok();
        server.leave(&bob, &room).await;
        server.set_state(&alice, &room, "m.room.topic", json!({ "topic": "after" })).await.ok();
        assert_eq!(server.room_get(&bob, &room, "state/m.room.topic").await.ok(), json!({ "topic": "before" }));
        let all = server.room_get(&bob, &room, "state").await.ok();
        assert!(all.to_string().contains("before") && !all.to_string().contains("after"));
        let members = server.room_get(&bob, &room, "members?membership=leave").await.ok();
        assert_eq!(fields(&members["chunk"], "state_key"), std::slice::from_ref(&bob.user_id));
        server.room_get(&bob, &room, "joined_members").await.error(403, "M_FORBIDDEN");
        server.post(&format!("/rooms/{room}/forget"), &bob.token, json!({})).await.ok();
        for path in ["state", "members", "messages?dir=b"] {
            server.room_get(&bob, &room, path).await.error(403, "M_FORBIDDEN");
        }
    });
}

#[test]
fn members_are_filtered_and_shown_as_of_a_token() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        server.put("/profile/@bob:example.org/displayname", &bob.token, json!({ "displayname": "Bob" })).await.ok();
        let room = server.public_room(&alice).await;
        let before = server.get("/sync", &alice.token).await.ok()["next_batch"].as_str().unwrap().to_owned();
        server.join(&bob, &room).await;
        let joined = server.room_get(&alice, &room, "joined_members").await.ok();
        assert_eq!(joined["joined"]["@bob:example.org"]["display_name"], "Bob");
        assert_eq!(joined["joined"].as_object().unwrap().len(), 2);
        let members = async |query: &str| {
            let answer = server.room_get(&alice, &room, &format!("members{query}")).await.ok();
            let mut users = fields(&answer["chunk"], "state_key");
            users.sort();
            users
        };
        assert_eq!(members("").await, ["@alice:example.org", "@bob:example.org"]);
        assert_eq!(members(&format!("?at={before}")).await, ["@alice:example.org"]);
        server.leave(&bob, &room).await;
        assert_eq!(members("?membership=join").await, ["@alice:example.org"]);
        assert_eq!(members("?not_membership=join").await, ["@bob:example.org"]);
        server.room_get(&alice, &room, "members?membership=x").await.error(400, "M_INVALID_PARAM");
        server.room_get(&alice, &room, "members?at=x").await.error(400, "M_INVALID_PARAM");
    });
}

#[test]
fn members_of_one_membership_or_not_of_another_are_listed() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let (joined, left) = (server.user("joined").await, server.user("left").await);
        let (invited, banned) = (server.user("invited").await, server.user("banned").await);
        server.join(&joined, &room).await;
        server.join(&left, &room).await;
        server.leave(&left, &room).await;
        server.act(&alice, "invite", &room, &invited).await.ok();
        server.act(&alice, "ban", &room, &banned).await.ok();
        let all = [("alice", "join"), ("joined", "join"), ("left", "leave"), ("invited", "invite"), ("banned", "ban")];
        for is in ["join", "leave", "invite", "ban", "knock"] {
            for is_not in ["join", "leave", "invite", "ban", "knock"] {
                let path = format!("members?membership={is}&not_membership={is_not}");
                let answer = server.room_get(&alice, &room, &path).await.ok();
                let mut users = fields(&answer["chunk"], "state_key");
                users.sort();
                let wanted = all.into_iter().filter(|(_, membership)| *membership == is || *membership != is_not);
                let mut expected: Vec<String> = wanted.map(|(name, _)| format!("@{name}:example.org")).collect();
                expected.sort();
                assert_eq!(users, expected, "{path}");
            }
        }
    });
}

/// `unsigned.prev_content`: "only returned if the client has permission to see the previous event".
#[test]
fn what_was_replaced_is_shown_to_those_who_may_see_it() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        for visibility in ["joined", "invited", "shared"] {
            let room = server.public_room(&alice).await;
            let content = json!({ "history_visibility": visibility });
            server.set_state(&alice, &room, "m.room.history_visibility", content).await.ok();
            for topic in ["secret", "public"] {
                server.set_state(&alice, &room, "m.room.topic", json!({ "topic": topic })).await.ok();
            }
            server.join(&bob, &room).await;
            let sees_before = visibility == "shared";
            let sync = server.get("/sync", &bob.token).await.ok();
            let whole = server.room_get(&bob, &room, "state/m.room.topic?format=event").await.ok();
            let all = server.room_get(&bob, &room, "state").await.ok();
            for told in [&sync, &whole, &all] {
                assert!(told.to_string().contains("public"), "{visibility}: {told}");
                assert_eq!(told.to_string().contains("secret"), sees_before, "{visibility}: {told}");
            }
            assert!(whole["unsigned"]["replaces_state"].is_string(), "{visibility}: {whole}");
            // What they saw they are shown, also where another event has taken its place.
            server.set_state(&alice, &room, "m.room.topic", json!({ "topic": "next" })).await.ok();
            let whole = server.room_get(&bob, &room, "state/m.room.topic?format=event").await.ok();
            assert_eq!(whole["unsigned"]["prev_content"], json!({ "topic": "public" }), "{visibility}: {whole}");
            server.leave(&bob, &room).await;
            server.post(&format!("/rooms/{room}/forget"), &bob.token, json!({})).await.ok();
        }
    });
}

/// Of a redaction from after their time they see what it did, and not who redacted it and why.
#[test]
fn who_has_left_is_not_told_of_later_redactions() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        let said = [server.say(&alice, &room, "one").await, server.say(&alice, &room, "two").await];
        let redact = async |event: &str, reason: &str| {
            let path = format!("/rooms/{room}/redact/{event}/{reason}");
            server.put(&path, &alice.token, json!({ "reason": reason })).await.ok();
        };
        redact(&said[0], "EARLY").await;
        server.leave(&bob, &room).await;
        redact(&said[1], "LATE").await;
        for (who, event, reason) in
            [(&bob, &said[0], Some("EARLY")), (&bob, &said[1], None), (&alice, &said[1], Some("LATE"))]
        {
            let shown = server.room_get(who, &room, &format!("event/{event}")).await.ok();
            assert_eq!(shown["content"], json!({}), "{shown}");
            assert_eq!(shown["unsigned"]["redacted_because"]["content"]["reason"].as_str(), reason, "{shown}");
        }
    });
}
