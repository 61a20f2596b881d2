//! Client-server API, "Account deactivation".

use crate::server::{PASSWORD, password_auth, password_login, with_server};
use serde_json::json;

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
        server.tell("/login", password_login("alice", PASSWORD)).await.error(403, "M_USER_DEACTIVATED");
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
