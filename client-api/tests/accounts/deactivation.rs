//! Client-server API, "Account deactivation".

use crate::server::{PASSWORD, password_auth, password_login, with_server};
use serde_json::{Value, json};

#[test]
fn a_deactivated_account_is_closed_and_its_name_stays_taken() {
    with_server(async |server| {
        let (alice, other) = (server.user("alice").await, server.login("alice").await);
        server
            .put("/profile/@alice:example.org/displayname", &alice.token, json!({ "displayname": "Alice" }))
            .await
            .ok();
        let session = server.post("/account/deactivate", &alice.token, json!({})).await.challenge("m.login.password");
        let wrong = json!({ "auth": password_auth(&session, "alice", "wrong") });
        server.post("/account/deactivate", &alice.token, wrong).await.error(401, "M_FORBIDDEN");
        server.get("/account/whoami", &alice.token).await.ok();
        let right = json!({ "auth": password_auth(&session, "alice", PASSWORD), "erase": true });
        let body = server.post("/account/deactivate", &alice.token, right).await.ok();
        assert_eq!(body, json!({ "id_server_unbind_result": "success" }));
        for token in [&alice.token, &other.token] {
            server.get("/account/whoami", token).await.error(401, "M_UNKNOWN_TOKEN");
        }
        // Nobody can prove any more whose it was, so that nobody is told that it was.
        let unknown = server.tell("/login", password_login("nobody", PASSWORD)).await.error(403, "M_FORBIDDEN");
        for password in [PASSWORD, "wrong"] {
            let answer = server.tell("/login", password_login("alice", password)).await.error(403, "M_FORBIDDEN");
            assert_eq!(answer, unknown);
        }
        server.tell("/register", json!({ "username": "alice" })).await.error(400, "M_USER_IN_USE");
        server.ask("/profile/@alice:example.org").await.error(404, "M_NOT_FOUND");
        let bob = server.user("bob").await;
        let found = server.post("/user_directory/search", &bob.token, json!({ "search_term": "alice" })).await.ok();
        assert_eq!(found["results"], json!([]));
    });
}

#[test]
fn the_operator_can_deactivate_too() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        server.services.deactivate("alice", false).await.unwrap();
        server.get("/account/whoami", &alice.token).await.error(401, "M_UNKNOWN_TOKEN");
        let listed = server.services.accounts.list_users().await.unwrap();
        assert!(listed[0].deactivated);
        // Again is the same.
        server.services.deactivate("@alice:example.org", true).await.unwrap();
        assert_eq!(server.services.deactivate("nobody", false).await.unwrap_err().status, 404);
        assert_eq!(
            server.services.accounts.set_password("alice", "x", true).await.unwrap_err().errcode,
            "M_USER_DEACTIVATED"
        );
    });
}

/// What the user said is shown redacted to who joins after the erasure, and as it was to who was there before.
#[test]
fn erased_content_is_hidden_from_who_joins_later() {
    with_server(async |server| {
        let (alice, bob, carol) = (server.user("alice").await, server.user("bob").await, server.user("carol").await);
        let room = server.post("/createRoom", &alice.token, json!({ "preset": "public_chat" })).await.ok();
        let room = room["room_id"].as_str().unwrap().to_owned();
        let send = async |who: &str, id: &str, content: Value| {
            let answer = server.put(&format!("/rooms/{room}/send/m.room.message/{id}"), who, content).await;
            answer.ok()["event_id"].as_str().unwrap().to_owned()
        };
        let said = send(&alice.token, "1", json!({ "body": "secret", "msgtype": "m.text" })).await;
        let edit = json!({
            "body": "* secret", "msgtype": "m.text", "m.relates_to": { "rel_type": "m.replace", "event_id": said },
            "m.new_content": { "body": "secret", "msgtype": "m.text" },
        });
        send(&alice.token, "2", edit).await;
        server.put(&format!("/rooms/{room}/state/m.x/"), &alice.token, json!({ "secret": 1 })).await.ok();
        server.post(&format!("/join/{room}"), &bob.token, json!({})).await.ok();
        // A new name does not make bob a newcomer.
        server.wait(std::time::Duration::from_secs(1)).await;
        server.services.deactivate("alice", true).await.unwrap();
        server.wait(std::time::Duration::from_secs(1)).await;
        server.put("/profile/@bob:example.org/displayname", &bob.token, json!({ "displayname": "Bob" })).await.ok();
        server.post(&format!("/join/{room}"), &carol.token, json!({})).await.ok();
        let look = async |token: &str| {
            let mut seen = Vec::new();
            for path in [
                format!("/rooms/{room}/event/{said}"),
                format!("/rooms/{room}/messages?dir=b&limit=50"),
                format!("/rooms/{room}/context/{said}"),
                format!("/rooms/{room}/state"),
                format!("/rooms/{room}/state/m.x/"),
                "/sync".to_owned(),
                "/sync?filter=%7B%22event_format%22:%22federation%22%7D".to_owned(),
            ] {
                seen.push(server.get(&path, token).await.ok().to_string().contains("secret"));
            }
            seen
        };
        assert_eq!(look(&bob.token).await, [true; 7]);
        assert_eq!(look(&carol.token).await, [false; 7]);
        // Who was there before and went is no newcomer either.
        server.post(&format!("/rooms/{room}/leave"), &bob.token, json!({})).await.ok();
        assert_eq!(look(&bob.token).await[..5], [true; 5]);
    });
}
