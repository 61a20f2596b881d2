//! Client-server API, "Password management"; the operator's side of it.

use crate::server::{PASSWORD, password_auth, password_login, with_server};
use serde_json::json;

#[test]
fn a_new_password_ends_other_devices_unless_they_shall_stay() {
    with_server(async |server| {
        let (alice, other) = (server.user("alice").await, server.login("alice").await);
        let request = json!({ "new_password": "through the looking-glass" });
        let session =
            server.post("/account/password", &alice.token, request.clone()).await.challenge("m.login.password");
        let mut request = request;
        request["auth"] = password_auth(&session, "alice", PASSWORD);
        server.post("/account/password", &alice.token, request).await.ok();
        server.get("/account/whoami", &alice.token).await.ok();
        server.get("/account/whoami", &other.token).await.error(401, "M_UNKNOWN_TOKEN");
        server.tell("/login", password_login("alice", PASSWORD)).await.error(403, "M_FORBIDDEN");
        let other = server.tell("/login", password_login("alice", "through the looking-glass")).await.login();
        let auth = json!({ "type": "m.login.password", "password": "through the looking-glass" });
        let request = json!({ "new_password": PASSWORD, "logout_devices": false, "auth": auth });
        server.post("/account/password", &alice.token, request).await.ok();
        server.get("/account/whoami", &other.token).await.ok();
        server.login("alice").await;
    });
}

#[test]
fn without_a_token_the_password_says_whose_it_is() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let session =
            server.tell("/account/password", json!({ "new_password": "new" })).await.challenge("m.login.password");
        let nameless = json!({ "type": "m.login.password", "password": PASSWORD, "session": session });
        server
            .tell("/account/password", json!({ "new_password": "new", "auth": nameless }))
            .await
            .error(401, "M_MISSING_PARAM");
        let request = json!({ "new_password": "new", "auth": password_auth(&session, "alice", PASSWORD) });
        server.tell("/account/password", request).await.ok();
        server.get("/account/whoami", &alice.token).await.error(401, "M_UNKNOWN_TOKEN");
        server.tell("/login", password_login("alice", "new")).await.ok();
    });
}

#[test]
fn passwords_that_cannot_be_had_change_nothing() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        server.post("/account/password", &alice.token, json!({})).await.error(400, "M_MISSING_PARAM");
        server
            .post("/account/password", &alice.token, json!({ "new_password": "" }))
            .await
            .error(400, "M_WEAK_PASSWORD");
        let long = json!({ "new_password": "x".repeat(5000) });
        server.post("/account/password", &alice.token, long).await.error(400, "M_INVALID_PARAM");
        server.login("alice").await;
    });
}

#[test]
fn the_operator_makes_lists_and_changes_accounts() {
    with_server(async |server| {
        let accounts = &server.services.accounts;
        assert_eq!(accounts.create_user("Root", "first", true).await.unwrap(), "@root:example.org");
        assert_eq!(accounts.create_user("root", "again", false).await.unwrap_err().errcode, "M_USER_IN_USE");
        let alice = server.user("alice").await;
        let listed = accounts.list_users().await.unwrap();
        let listed: Vec<_> =
            listed.iter().map(|user| (user.user_id.as_str(), user.administrator, user.deactivated)).collect();
        assert_eq!(listed, [("@alice:example.org", false, false), ("@root:example.org", true, false)]);
        accounts.set_password("alice", "second", true).await.unwrap();
        server.get("/account/whoami", &alice.token).await.error(401, "M_UNKNOWN_TOKEN");
        server.tell("/login", password_login("alice", "second")).await.ok();
        assert_eq!(accounts.set_password("nobody", "x", true).await.unwrap_err().status, 404);
        assert!(accounts.is_administrator("@root:example.org").unwrap());
        assert!(!accounts.is_administrator("@alice:example.org").unwrap());
    });
}
