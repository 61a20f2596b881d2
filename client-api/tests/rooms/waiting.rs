//! Syncs that wait.

use crate::server::{Login, PASSWORD, Server, with_server};
use serde_json::{Value, json};
use std::time::Duration;

/// Ends sessions of alice's in one way or another; `session` is the one whose sync waits.
async fn end(server: &Server, how: &str, session: &Login, other: &Login) {
    let proof = json!({
        "type": "m.login.password", "password": PASSWORD, "identifier": { "type": "m.id.user", "user": "alice" },
    });
    let nothing = json!({});
    match how {
        "logout" => server.post("/logout", &session.token, nothing).await,
        "logout/all" => server.post("/logout/all", &other.token, nothing).await,
        "device" => {
            let path = format!("/devices/{}", session.device_id);
            server.delete(&path, &other.token, json!({ "auth": proof })).await
        }
        "password" => {
            let body = json!({ "new_password": PASSWORD, "logout_devices": true, "auth": proof });
            server.post("/account/password", &other.token, body).await
        }
        "login" => {
            let mut body = proof;
            body["device_id"] = json!(session.device_id);
            server.tell("/login", body).await
        }
        _ => server.post("/account/deactivate", &other.token, json!({ "auth": proof })).await,
    }
    .ok();
}

#[test]
fn a_wait_ends_with_its_session() {
    with_server(async |server| {
        let bob = server.user("bob").await;
        server.user("alice").await;
        for how in ["logout", "logout/all", "device", "password", "login", "deactivate"] {
            let (session, other) = (server.login("alice").await, server.login("alice").await);
            let room = server.public_room(&bob).await;
            server.join(&session, &room).await;
            let since = server.get("/sync", &session.token).await.ok()["next_batch"].as_str().unwrap().to_owned();
            let started = server.services.world.monotonic();
            let path = format!("/sync?timeout=60000&since={since}");
            let change = async {
                server.wait(Duration::from_secs(5)).await;
                end(&server, how, &session, &other).await;
                server.say(&bob, &room, "news").await;
            };
            let (sync, ()) = futures::join!(server.get(&path, &session.token), change);
            sync.error(401, "M_UNKNOWN_TOKEN");
            assert!((server.services.world.monotonic() - started).as_secs() < 30, "{how}");
        }
    });
}

/// A client may refresh its token while a sync waits; what that brings is not lost.
#[test]
fn a_wait_outlives_the_refresh_of_its_token() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&bob).await;
        server.join(&alice, &room).await;
        let login = json!({
            "type": "m.login.password", "password": PASSWORD, "refresh_token": true,
            "identifier": { "type": "m.id.user", "user": "alice" },
        });
        let login = server.tell("/login", login).await.ok();
        let token = login["access_token"].as_str().unwrap();
        let since = server.get("/sync", token).await.ok()["next_batch"].as_str().unwrap().to_owned();
        let path = format!("/sync?timeout=60000&since={since}");
        let change = async {
            server.wait(Duration::from_secs(5)).await;
            let fresh = server.tell("/refresh", json!({ "refresh_token": login["refresh_token"] })).await.ok();
            server.get("/account/whoami", fresh["access_token"].as_str().unwrap()).await.ok();
            server.get("/account/whoami", token).await.error(401, "M_UNKNOWN_TOKEN");
            server.say(&bob, &room, "news").await;
        };
        let (sync, ()) = futures::join!(server.get(&path, token), change);
        assert!(sync.ok()["rooms"]["join"][&room] != Value::Null);
    });
}
