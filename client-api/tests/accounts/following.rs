//! What follows in rooms from a change of an account.

use crate::server::{Login, PASSWORD, Server, with_server};
use serde_json::{Map, Value, json};
use services::{rooms::create::CreateRoom, tables};
use state_res::ids::UserKey;
use storage::{Batch, key};

/// A room that both have joined.
async fn shared_room(server: &Server, owner: &Login, guest: &Login) -> String {
    let public: CreateRoom = serde_json::from_value(json!({ "preset": "public_chat" })).unwrap();
    let room_id = server.services.rooms.create(&owner.user_id, public).await.unwrap().room_id;
    server.services.rooms.join_local(&guest.user_id, &room_id, None, None).await.unwrap();
    room_id
}

/// The content of a user's member event.
fn member(server: &Server, room_id: &str, user_id: &str) -> Map<String, Value> {
    let (reader, head) = server.services.rooms.known(room_id).unwrap();
    reader.state_event(head.root, "m.room.member", user_id).unwrap().unwrap().content().clone()
}

fn work_left(server: &Server) -> usize {
    server.services.store.snapshot().scan_prefix(tables::ACCOUNT_WORK, &[]).count()
}

#[test]
fn member_events_follow_display_name_and_avatar() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let rooms = [shared_room(&server, &alice, &bob).await, shared_room(&server, &bob, &alice).await];
        let path = "/profile/@alice:example.org";
        server.put(&format!("{path}/displayname"), &alice.token, json!({ "displayname": "Alice" })).await.ok();
        server.put(&format!("{path}/avatar_url"), &alice.token, json!({ "avatar_url": "mxc://x/y" })).await.ok();
        server.put(&format!("{path}/m.tz"), &alice.token, json!({ "m.tz": "UTC" })).await.ok();
        let expected = json!({ "membership": "join", "displayname": "Alice", "avatar_url": "mxc://x/y" });
        for room_id in &rooms {
            assert_eq!(json!(member(&server, room_id, &alice.user_id)), expected);
            assert_eq!(json!(member(&server, room_id, &bob.user_id)), json!({ "membership": "join" }));
        }
        server.delete(&format!("{path}/displayname"), &alice.token, json!({})).await.ok();
        let expected = json!({ "membership": "join", "avatar_url": "mxc://x/y" });
        assert_eq!(json!(member(&server, &rooms[0], &alice.user_id)), expected);
        assert_eq!(work_left(&server), 0);
    });
}

#[test]
fn a_deactivated_user_leaves_every_room() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let rooms = [shared_room(&server, &alice, &bob).await, shared_room(&server, &bob, &alice).await];
        let auth = json!({ "type": "m.login.password", "password": PASSWORD });
        server.post("/account/deactivate", &alice.token, json!({ "auth": auth })).await.ok();
        for room_id in &rooms {
            assert_eq!(member(&server, room_id, &alice.user_id)["membership"], "leave");
            assert_eq!(member(&server, room_id, &bob.user_id)["membership"], "join");
        }
        assert_eq!(work_left(&server), 0);
    });
}

/// The rows are what a crash between a change and its consequences leaves.
#[test]
fn the_next_start_finishes_what_a_crash_left_undone() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room_id = shared_room(&server, &alice, &bob).await;
        let mut batch = Batch::with_random_id(&server.services.world);
        let profile = json!({ "user_id": alice.user_id, "profile": { "displayname": "A" } }).to_string();
        batch.put(tables::PROFILES, UserKey::of(&alice.user_id).as_bytes(), profile.as_bytes());
        for (user, kind, number) in [(&alice, "profile", 0), (&bob, "departure", 1)] {
            let row = json!({ "kind": kind, "user_id": user.user_id, "number": 7 }).to_string();
            let key = key::Writer::new().id16(UserKey::of(&user.user_id).as_bytes()).u8(number).finish();
            batch.put(tables::ACCOUNT_WORK, &key, row.as_bytes());
        }
        assert!(server.services.store.commit(batch).await.position().is_some());
        server.services.finish_account_work().await.unwrap();
        assert_eq!(member(&server, &room_id, &alice.user_id)["displayname"], "A");
        assert_eq!(member(&server, &room_id, &bob.user_id)["membership"], "leave");
        server.services.finish_account_work().await.unwrap();
        assert_eq!(member(&server, &room_id, &alice.user_id)["membership"], "join");
    });
}
