//! Users who take no invites.

use crate::server::{Login, Server, with_server};
use serde_json::{Value, json};

async fn set(server: &Server, who: &Login, content: Value) {
    let path = format!("/user/{}/account_data/m.invite_permission_config", who.user_id);
    server.put(&path, &who.token, content).await.ok();
}

async fn invites(server: &Server, who: &Login, since: Option<&str>) -> Vec<String> {
    let query = since.map(|since| format!("?since={since}")).unwrap_or_default();
    let sync = server.get(&format!("/sync{query}"), &who.token).await.ok();
    sync["rooms"]["invite"].as_object().into_iter().flatten().map(|(room, _)| room.clone()).collect()
}

#[test]
fn who_blocks_invites_is_not_invited_by_any_way() {
    with_server(async |server| {
        let (alice, bob, carol) = (server.user("alice").await, server.user("bob").await, server.user("carol").await);
        let room = server.room(&alice, json!({})).await;
        set(&server, &bob, json!({ "default_action": "block" })).await;
        server.act(&alice, "invite", &room, &bob).await.error(403, "M_INVITE_BLOCKED");
        let member = format!("m.room.member/{}", bob.user_id);
        let invite = json!({ "membership": "invite" });
        server.set_state(&alice, &room, &member, invite).await.error(403, "M_INVITE_BLOCKED");
        let made = json!({ "invite": [carol.user_id, bob.user_id] });
        server.post("/createRoom", &alice.token, made).await.error(403, "M_INVITE_BLOCKED");
        assert_eq!(server.get("/joined_rooms", &alice.token).await.ok(), json!({ "joined_rooms": [room] }));
        assert!(invites(&server, &carol, None).await.is_empty(), "nothing came of the room that was refused");
        server.room_get(&alice, &room, &format!("state/{member}")).await.error(404, "M_NOT_FOUND");
        // Who may not invite is not told whom they could not.
        server.act(&carol, "invite", &room, &bob).await.error(403, "M_FORBIDDEN");
        // Theirs are not affected, nor are those of others.
        let theirs = server.room(&bob, json!({})).await;
        server.act(&bob, "invite", &theirs, &alice).await.ok();
        server.act(&alice, "invite", &room, &carol).await.ok();
        for allows in [json!({ "default_action": "allow" }), json!({ "default_action": 1 }), json!({})] {
            set(&server, &bob, allows.clone()).await;
            server.act(&alice, "invite", &room, &bob).await.ok();
            assert_eq!(invites(&server, &bob, None).await, std::slice::from_ref(&room), "{allows}");
            server.act(&alice, "kick", &room, &bob).await.ok();
        }
    });
}

#[test]
fn invites_from_before_are_not_shown_while_invites_are_blocked() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let since = server.get("/sync", &bob.token).await.ok()["next_batch"].as_str().unwrap().to_owned();
        let room = server.room(&alice, json!({ "invite": [bob.user_id] })).await;
        set(&server, &bob, json!({ "default_action": "block" })).await;
        for since in [None, Some(since.as_str())] {
            assert!(invites(&server, &bob, since).await.is_empty());
        }
        set(&server, &bob, json!({})).await;
        for since in [None, Some(since.as_str())] {
            assert_eq!(invites(&server, &bob, since).await, std::slice::from_ref(&room));
        }
    });
}
