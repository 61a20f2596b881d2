//! Client-server API, "Refreshing access tokens".

use crate::server::{Server, with_server};
use serde_json::{Value, json};
use std::time::Duration;

async fn register(server: &Server) -> Value {
    let request =
        json!({ "username": "alice", "password": "p", "refresh_token": true, "auth": { "type": "m.login.dummy" } });
    server.tell("/register", request).await.ok()
}

fn text(body: &Value, key: &str) -> String {
    body[key].as_str().unwrap_or_else(|| panic!("{key} in {body}")).to_owned()
}

async fn refresh(server: &Server, token: &str) -> (String, String) {
    let body = server.tell("/refresh", json!({ "refresh_token": token })).await.ok();
    assert!(body["expires_in_ms"].as_u64().unwrap() > 0);
    (text(&body, "access_token"), text(&body, "refresh_token"))
}

#[test]
fn tokens_expire_softly_and_can_be_refreshed() {
    with_server(async |server| {
        let body = register(&server).await;
        let (access, first) = (text(&body, "access_token"), text(&body, "refresh_token"));
        server.get("/account/whoami", &access).await.ok();
        server.wait(Duration::from_millis(body["expires_in_ms"].as_u64().unwrap())).await;
        let error = server.get("/account/whoami", &access).await.error(401, "M_UNKNOWN_TOKEN");
        assert_eq!(error["soft_logout"], true);
        let (access, second) = refresh(&server, &first).await;
        let me = server.get("/account/whoami", &access).await.ok();
        assert_eq!(me["device_id"], body["device_id"]);
        // The new token has been used: the old refresh token is spent, the new one is not.
        server.tell("/refresh", json!({ "refresh_token": first })).await.error(401, "M_UNKNOWN_TOKEN");
        refresh(&server, &second).await;
    });
}

#[test]
fn a_lost_answer_can_be_asked_for_again() {
    with_server(async |server| {
        let body = register(&server).await;
        let (old, first) = (text(&body, "access_token"), text(&body, "refresh_token"));
        let (lost_access, lost_refresh) = refresh(&server, &first).await;
        let (access, second) = refresh(&server, &first).await;
        server.get("/account/whoami", &lost_access).await.error(401, "M_UNKNOWN_TOKEN");
        server.tell("/refresh", json!({ "refresh_token": lost_refresh })).await.error(401, "M_UNKNOWN_TOKEN");
        server.get("/account/whoami", &access).await.ok();
        server.get("/account/whoami", &old).await.error(401, "M_UNKNOWN_TOKEN");
        refresh(&server, &second).await;
    });
}

#[test]
fn using_the_new_refresh_token_also_spends_the_old_one() {
    with_server(async |server| {
        let body = register(&server).await;
        let first = text(&body, "refresh_token");
        let (unused, second) = refresh(&server, &first).await;
        let (access, third) = refresh(&server, &second).await;
        server.tell("/refresh", json!({ "refresh_token": first })).await.error(401, "M_UNKNOWN_TOKEN");
        // The first use of an older token does not end a newer one.
        server.get("/account/whoami", &unused).await.ok();
        server.get("/account/whoami", &access).await.ok();
        server.get("/account/whoami", &unused).await.error(401, "M_UNKNOWN_TOKEN");
        refresh(&server, &third).await;
    });
}

#[test]
fn clients_that_do_not_ask_get_a_token_that_lasts() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        server.wait(Duration::from_secs(90 * 24 * 3600)).await;
        server.get("/account/whoami", &alice.token).await.ok();
    });
}

#[test]
fn refresh_tokens_end_with_their_device() {
    with_server(async |server| {
        let body = register(&server).await;
        let (access, refresh) = (text(&body, "access_token"), text(&body, "refresh_token"));
        server.post("/logout", &access, json!({})).await.ok();
        let error = server.tell("/refresh", json!({ "refresh_token": refresh })).await.error(401, "M_UNKNOWN_TOKEN");
        assert_eq!(error["soft_logout"], false);
        server.tell("/refresh", json!({ "refresh_token": access })).await.error(401, "M_UNKNOWN_TOKEN");
        server.tell("/refresh", json!({})).await.error(400, "M_BAD_JSON");
    });
}
