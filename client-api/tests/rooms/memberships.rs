//! Joining, leaving, inviting, knocking, banning, forgetting.

use crate::server::{Answer, Login, Server, with_server};
use serde_json::json;

async fn membership(server: &Server, who: &Login, room: &str, of: &Login) -> Answer {
    server.room_get(who, room, &format!("state/m.room.member/{}", of.user_id)).await
}

#[test]
fn an_invited_user_joins_and_leaves() {
    with_server(async |server| {
        let (alice, bob, carol) = (server.user("alice").await, server.user("bob").await, server.user("carol").await);
        let room = server.room(&alice, json!({})).await;
        server.post(&format!("/join/{room}"), &bob.token, json!({})).await.error(403, "M_FORBIDDEN");
        server.act(&carol, "invite", &room, &bob).await.error(403, "M_FORBIDDEN");
        let invite = format!("/rooms/{room}/invite");
        server.post(&invite, &alice.token, json!({ "user_id": "@nobody:example.org" })).await.error(404, "M_NOT_FOUND");
        server.post(&invite, &alice.token, json!({ "user_id": "bob" })).await.error(400, "M_INVALID_PARAM");
        server.post(&invite, &alice.token, json!({})).await.error(400, "M_BAD_JSON");
        server.post(&invite, &alice.token, json!({ "user_id": bob.user_id, "reason": "come" })).await.ok();
        assert_eq!(membership(&server, &alice, &room, &bob).await.ok()["membership"], "invite");
        assert_eq!(membership(&server, &alice, &room, &bob).await.ok()["reason"], "come");
        assert_eq!(server.get("/joined_rooms", &bob.token).await.ok(), json!({ "joined_rooms": [] }));
        let joined = server.post(&format!("/join/{room}"), &bob.token, json!({})).await.ok();
        assert_eq!(joined, json!({ "room_id": room }));
        // Once more changes nothing.
        server.join(&bob, &room).await;
        assert_eq!(server.get("/joined_rooms", &bob.token).await.ok(), json!({ "joined_rooms": [room] }));
        server.act(&alice, "invite", &room, &bob).await.error(403, "M_FORBIDDEN");
        server.post(&format!("/rooms/{room}/forget"), &bob.token, json!({})).await.error(400, "M_UNKNOWN");
        server.leave(&bob, &room).await;
        assert_eq!(server.get("/joined_rooms", &bob.token).await.ok(), json!({ "joined_rooms": [] }));
        server.post(&format!("/rooms/{room}/leave"), &carol.token, json!({})).await.error(403, "M_FORBIDDEN");
        server.post("/join/nothing", &bob.token, json!({})).await.error(400, "M_INVALID_PARAM");
        server.post("/join/%23none:example.org", &bob.token, json!({})).await.error(404, "M_NOT_FOUND");
    });
}

#[test]
fn kicks_and_bans_need_power_and_bans_hold() {
    with_server(async |server| {
        let (alice, bob, carol) = (server.user("alice").await, server.user("bob").await, server.user("carol").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        server.join(&carol, &room).await;
        server.act(&bob, "kick", &room, &carol).await.error(403, "M_FORBIDDEN");
        server.act(&bob, "ban", &room, &carol).await.error(403, "M_FORBIDDEN");
        server.act(&alice, "kick", &room, &carol).await.ok();
        server.act(&alice, "kick", &room, &carol).await.error(403, "M_FORBIDDEN");
        server.join(&carol, &room).await;
        server.act(&alice, "unban", &room, &carol).await.error(403, "M_BAD_STATE");
        server.act(&alice, "ban", &room, &carol).await.ok();
        server.post(&format!("/join/{room}"), &carol.token, json!({})).await.error(403, "M_FORBIDDEN");
        server.act(&alice, "invite", &room, &carol).await.error(403, "M_FORBIDDEN");
        server.act(&bob, "unban", &room, &carol).await.error(403, "M_FORBIDDEN");
        server.act(&alice, "unban", &room, &carol).await.ok();
        assert_eq!(membership(&server, &alice, &room, &carol).await.ok()["membership"], "leave");
        server.join(&carol, &room).await;
    });
}

#[test]
fn a_knock_is_answered_by_an_invite() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let closed = server.room(&alice, json!({})).await;
        server.post(&format!("/knock/{closed}"), &bob.token, json!({})).await.error(403, "M_FORBIDDEN");
        let rules = json!([{ "type": "m.room.join_rules", "state_key": "", "content": { "join_rule": "knock" } }]);
        let room = server.room(&alice, json!({ "initial_state": rules, "room_alias_name": "door" })).await;
        let knock = server.post("/knock/%23door:example.org", &bob.token, json!({ "reason": "please" })).await.ok();
        assert_eq!(knock, json!({ "room_id": room }));
        let member = membership(&server, &alice, &room, &bob).await.ok();
        assert_eq!((&member["membership"], &member["reason"]), (&json!("knock"), &json!("please")));
        let sync = server.get("/sync", &bob.token).await.ok();
        assert!(sync["rooms"]["knock"][&room]["knock_state"]["events"].is_array(), "{sync}");
        server.post(&format!("/join/{room}"), &bob.token, json!({})).await.error(403, "M_FORBIDDEN");
        server.act(&alice, "invite", &room, &bob).await.ok();
        server.join(&bob, &room).await;
    });
}

#[test]
fn a_restricted_room_lets_members_of_another_room_in() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let club = server.public_room(&alice).await;
        let allow = json!([{ "type": "m.room_membership", "room_id": club }]);
        let rules = json!([{
            "type": "m.room.join_rules", "state_key": "", "content": { "join_rule": "restricted", "allow": allow },
        }]);
        for version in ["8", "10", "12"] {
            let room = server.room(&alice, json!({ "room_version": version, "initial_state": rules })).await;
            server.post(&format!("/join/{room}"), &bob.token, json!({})).await.error(403, "M_FORBIDDEN");
            server.join(&bob, &club).await;
            server.join(&bob, &room).await;
            let member = membership(&server, &alice, &room, &bob).await.ok();
            assert_eq!(member["join_authorised_via_users_server"], json!(alice.user_id), "version {version}");
            server.leave(&bob, &club).await;
            // Where nobody may invite, nobody may vouch, and no other server is there to be asked.
            server.join(&bob, &club).await;
            let powers = json!({ "invite": 101, "users": { alice.user_id.clone(): 100 } });
            let version = if version == "12" { "11" } else { version };
            let body =
                json!({ "room_version": version, "initial_state": rules, "power_level_content_override": powers });
            let room = server.room(&alice, body).await;
            server.post(&format!("/join/{room}"), &bob.token, json!({})).await.error(403, "M_FORBIDDEN");
            server.leave(&bob, &club).await;
        }
    });
}

/// "The power level for sending `m.room.tombstone` events MUST explicitly be higher than `state_default`", from version 12 on.
#[test]
fn overridden_levels_leave_the_tombstone_to_creators() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        for (levels, expected) in [
            (json!({ "events": { "m.x": 0 } }), json!(150)),
            (json!({ "events": { "m.x": 0 }, "state_default": 200 }), json!(201)),
            (json!({ "events": { "m.room.tombstone": 60 } }), json!(60)),
            (json!({ "ban": 60 }), json!(150)),
            (json!({ "state_default": 200 }), json!(201)),
        ] {
            let room =
                server.room(&alice, json!({ "room_version": "12", "power_level_content_override": levels })).await;
            let set = server.room_get(&alice, &room, "state/m.room.power_levels").await.ok();
            assert_eq!(set["events"]["m.room.tombstone"], expected, "{levels}");
        }
    });
}

#[test]
fn create_room_checks_what_it_is_given() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let create = async |body| server.post("/createRoom", &alice.token, body).await;
        create(json!({ "room_version": "none" })).await.error(400, "M_UNSUPPORTED_ROOM_VERSION");
        create(json!({ "preset": "none" })).await.error(400, "M_BAD_JSON");
        create(json!({ "invite": ["bob"] })).await.error(400, "M_INVALID_PARAM");
        create(json!({ "room_alias_name": "a:b" })).await.error(400, "M_INVALID_PARAM");
        create(json!({ "room_alias_name": "x" })).await.ok();
        create(json!({ "room_alias_name": "x" })).await.error(400, "M_ROOM_IN_USE");
        for version in ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"] {
            let body = json!({
                "room_version": version, "name": "n", "topic": "t", "invite": [bob.user_id], "is_direct": true,
                "preset": "trusted_private_chat", "creation_content": { "org.example": 1 },
            });
            let room = server.room(&alice, body).await;
            let state = async |path: &str| server.room_get(&alice, &room, &format!("state/{path}")).await.ok();
            assert_eq!(state("m.room.create").await["org.example"], 1);
            assert_eq!(state("m.room.create").await["room_version"], json!(version));
            assert_eq!(state("m.room.name").await["name"], "n");
            assert_eq!(state("m.room.topic").await["topic"], "t");
            let member = state(&format!("m.room.member/{}", bob.user_id)).await;
            assert_eq!((&member["membership"], &member["is_direct"]), (&json!("invite"), &json!(true)));
            server.join(&bob, &room).await;
            // As powerful as the creator.
            server.set_state(&bob, &room, "m.room.topic", json!({ "topic": "bob's" })).await.ok();
            server.say(&bob, &room, "hello").await;
        }
    });
}
