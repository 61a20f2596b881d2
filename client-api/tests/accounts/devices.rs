//! Client-server API, "Device Management".

use crate::server::{PASSWORD, password_auth, with_server};
use axum::{body::Body, extract::ConnectInfo};
use http::Request;
use serde_json::json;
use std::{net::SocketAddr, time::Duration};

#[test]
fn devices_are_listed_renamed_and_seen() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let path = format!("/devices/{}", alice.device_id);
        server.put(&path, &alice.token, json!({ "display_name": "Küche 🍳" })).await.ok();
        // Without a name, the name stays.
        server.put(&path, &alice.token, json!({})).await.ok();
        let device = server.get(&path, &alice.token).await.ok();
        assert_eq!(
            (device["device_id"].as_str(), device["display_name"].as_str()),
            (Some(&*alice.device_id), Some("Küche 🍳"))
        );
        assert_eq!(server.get("/devices", &alice.token).await.ok(), json!({ "devices": [device] }));
        for (path, token) in [(path.as_str(), &bob.token), ("/devices/NOPE", &alice.token)] {
            server.get(path, token).await.error(404, "M_NOT_FOUND");
            server.put(path, token, json!({ "display_name": "x" })).await.error(404, "M_NOT_FOUND");
        }
        server
            .put(&path, &alice.token, json!({ "display_name": "x".repeat(5000) }))
            .await
            .error(400, "M_INVALID_PARAM");
        server.put(&path, &alice.token, json!({ "display_name": 5 })).await.error(400, "M_BAD_JSON");
    });
}

#[test]
fn last_seen_follows_use() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let mut seen = Vec::new();
        for address in ["192.0.2.1:5", "192.0.2.2:5"] {
            server.wait(Duration::from_secs(3600)).await;
            let request = Request::get("/_matrix/client/v3/account/whoami")
                .header("Authorization", format!("Bearer {}", alice.token));
            let mut request = request.body(Body::empty()).unwrap();
            request.extensions_mut().insert(ConnectInfo::<SocketAddr>(address.parse().unwrap()));
            server.request(request).await.ok();
            server.wait(Duration::from_secs(1)).await;
            seen.push(server.get(&format!("/devices/{}", alice.device_id), &alice.token).await.ok());
        }
        assert_eq!((&seen[0]["last_seen_ip"], &seen[1]["last_seen_ip"]), (&json!("192.0.2.1"), &json!("192.0.2.2")));
        let ts = |index: usize| seen[index]["last_seen_ts"].as_u64().unwrap();
        assert!(ts(1) - ts(0) >= 3_600_000, "{seen:?}");
    });
}

#[test]
fn removing_a_device_takes_the_password() {
    with_server(async |server| {
        let (alice, other) = (server.user("alice").await, server.login("alice").await);
        let bob = server.user("bob").await;
        let path = format!("/devices/{}", other.device_id);
        let session = server.delete(&path, &alice.token, json!({})).await.challenge("m.login.password");
        for auth in [
            password_auth(&session, "alice", "wrong"),
            password_auth(&session, "bob", PASSWORD),
            json!({ "type": "m.login.dummy", "session": session }),
        ] {
            let refused = server.delete(&path, &alice.token, json!({ "auth": auth })).await;
            assert_eq!(refused.challenge("m.login.password"), session);
            refused.error(401, "M_FORBIDDEN");
        }
        // A session belongs to one user and one operation, on what it was begun for.
        let others = format!("/devices/{}", alice.device_id);
        let auth = json!({ "auth": password_auth(&session, "alice", PASSWORD) });
        server.delete(&others, &alice.token, auth.clone()).await.error(403, "M_FORBIDDEN");
        let mut both = auth;
        both["devices"] = json!([other.device_id, alice.device_id]);
        server.post("/delete_devices", &alice.token, both).await.error(403, "M_FORBIDDEN");
        let auth = json!({ "auth": password_auth(&session, "bob", PASSWORD) });
        server.delete(&path, &bob.token, auth).await.error(401, "M_FORBIDDEN");
        let auth = json!({ "new_password": "new", "auth": password_auth(&session, "alice", PASSWORD) });
        server.post("/account/password", &alice.token, auth).await.error(401, "M_FORBIDDEN");
        server.get("/account/whoami", &other.token).await.ok();
        let auth = json!({ "auth": password_auth(&session, "@alice:example.org", PASSWORD) });
        server.delete(&path, &alice.token, auth).await.ok();
        server.get("/account/whoami", &other.token).await.error(401, "M_UNKNOWN_TOKEN");
        server.get(&path, &alice.token).await.error(404, "M_NOT_FOUND");
        // What is gone has been removed before.
        let session = server.delete(&path, &alice.token, json!({})).await.challenge("m.login.password");
        server.delete(&path, &alice.token, json!({ "auth": password_auth(&session, "alice", PASSWORD) })).await.ok();
    });
}

#[test]
fn several_devices_go_at_once() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let others = [server.login("alice").await, server.login("alice").await, server.login("alice").await];
        let ids = json!([others[0].device_id, others[1].device_id, "NOPE"]);
        let session =
            server.post("/delete_devices", &alice.token, json!({ "devices": ids })).await.challenge("m.login.password");
        let request = json!({ "devices": ids, "auth": password_auth(&session, "alice", PASSWORD) });
        server.post("/delete_devices", &alice.token, request).await.ok();
        let left = server.get("/devices", &alice.token).await.ok();
        let left: Vec<_> =
            left["devices"].as_array().unwrap().iter().map(|device| device["device_id"].as_str().unwrap()).collect();
        let mut expected = vec![alice.device_id.as_str(), others[2].device_id.as_str()];
        expected.sort_unstable();
        assert_eq!(left, expected);
        server.get("/account/whoami", &others[0].token).await.error(401, "M_UNKNOWN_TOKEN");
        server.get("/account/whoami", &others[2].token).await.ok();
        server.post("/delete_devices", &alice.token, json!({})).await.error(400, "M_BAD_JSON");
        server.post("/delete_devices", &alice.token, json!({ "devices": [5] })).await.error(400, "M_BAD_JSON");
    });
}

/// Each of them announces something of the same list of devices.
#[test]
fn many_sessions_end_at_once() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let mut sessions = Vec::new();
        for _ in 0..60 {
            sessions.push(server.login("alice").await);
        }
        let logouts = sessions.iter().map(|session| server.post("/logout", &session.token, json!({})));
        for answer in futures::future::join_all(logouts).await {
            answer.ok();
        }
        for session in &sessions {
            server.get("/account/whoami", &session.token).await.error(401, "M_UNKNOWN_TOKEN");
        }
        assert_eq!(server.get("/devices", &alice.token).await.ok()["devices"].as_array().unwrap().len(), 1);
    });
}
