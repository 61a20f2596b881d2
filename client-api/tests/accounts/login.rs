//! Client-server API, "Login" and "Logout".

use crate::server::{PASSWORD, password_login, with_config, with_server};
use axum::{body::Body, extract::ConnectInfo};
use http::Request;
use serde_json::json;
use std::{net::SocketAddr, time::Duration};

#[test]
fn the_password_flow_is_offered_and_works_in_each_form() {
    with_server(async |server| {
        server.user("alice").await;
        assert_eq!(server.ask("/login").await.ok(), json!({ "flows": [{ "type": "m.login.password" }] }));
        for request in [
            password_login("alice", PASSWORD),
            password_login("@alice:example.org", PASSWORD),
            // Names are in small letters; phones begin them with a capital one.
            password_login("Alice", PASSWORD),
            password_login("@ALICE:example.org", PASSWORD),
            json!({ "type": "m.login.password", "user": "alice", "password": PASSWORD }),
            json!({ "type": "m.login.password", "user": "@alice:example.org", "password": PASSWORD }),
        ] {
            let login = server.tell("/login", request).await.login();
            assert_eq!(login.user_id, "@alice:example.org");
            let me = server.get("/account/whoami", &login.token).await.ok();
            assert_eq!(me["device_id"], login.device_id.as_str());
        }
    });
}

#[test]
fn wrong_logins_are_refused_alike() {
    with_server(async |server| {
        server.user("alice").await;
        let wrong = server.tell("/login", password_login("alice", "nope")).await.error(403, "M_FORBIDDEN");
        let nobody = server.tell("/login", password_login("nobody", "nope")).await.error(403, "M_FORBIDDEN");
        assert_eq!(wrong, nobody, "the answer must not tell which names exist");
        server.tell("/login", password_login("@alice:other.org", PASSWORD)).await.error(403, "M_FORBIDDEN");
        server.tell("/login", password_login("alice", "")).await.error(403, "M_FORBIDDEN");
        server.tell("/login", password_login("", PASSWORD)).await.error(403, "M_FORBIDDEN");
        let third_party = json!({ "type": "m.id.thirdparty", "medium": "email", "address": "a@b.c" });
        let request = json!({ "type": "m.login.password", "identifier": third_party, "password": "p" });
        server.tell("/login", request).await.error(403, "M_FORBIDDEN");
    });
}

#[test]
fn incomplete_logins_name_what_is_missing() {
    with_server(async |server| {
        for (request, errcode) in [
            (json!({ "type": "m.login.token", "token": "x" }), "M_UNKNOWN"),
            (json!({ "type": "m.login.password", "password": "p" }), "M_MISSING_PARAM"),
            (json!({ "type": "m.login.password", "user": "alice" }), "M_MISSING_PARAM"),
            (
                json!({ "type": "m.login.password", "identifier": { "type": "m.id.user" }, "password": "p" }),
                "M_MISSING_PARAM",
            ),
            (json!({ "type": "m.login.password", "identifier": { "type": "x" }, "password": "p" }), "M_UNKNOWN"),
            (json!({ "type": "m.login.password", "identifier": {}, "password": "p" }), "M_BAD_JSON"),
            (json!({ "type": "m.login.password", "identifier": "alice", "password": "p" }), "M_BAD_JSON"),
        ] {
            server.tell("/login", request).await.error(400, errcode);
        }
    });
}

#[test]
fn a_known_device_keeps_its_name_and_its_former_token_ends() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let mut request = password_login("alice", PASSWORD);
        request["device_id"] = json!("LAPTOP");
        request["initial_device_display_name"] = json!("first");
        let first = server.tell("/login", request.clone()).await.login();
        server.get("/account/whoami", &first.token).await.ok();
        request["initial_device_display_name"] = json!("second");
        let second = server.tell("/login", request).await.login();
        server.get("/account/whoami", &first.token).await.error(401, "M_UNKNOWN_TOKEN");
        assert_eq!(server.get("/devices/LAPTOP", &second.token).await.ok()["display_name"], "first");
        server.get("/account/whoami", &alice.token).await.ok();
    });
}

#[test]
fn logout_ends_one_device_and_logout_all_every_one() {
    with_server(async |server| {
        let (one, two, three) = (server.user("alice").await, server.login("alice").await, server.login("alice").await);
        let bob = server.user("bob").await;
        server.send(http::Method::POST, "/logout", Some(&one.token), "").await.ok();
        server.get("/account/whoami", &one.token).await.error(401, "M_UNKNOWN_TOKEN");
        server.post("/logout", &one.token, json!({})).await.error(401, "M_UNKNOWN_TOKEN");
        let devices = server.get("/devices", &two.token).await.ok();
        assert_eq!(devices["devices"].as_array().unwrap().len(), 2, "{devices}");
        server.post("/logout/all", &two.token, json!({})).await.ok();
        for token in [&two.token, &three.token] {
            let error = server.get("/account/whoami", token).await.error(401, "M_UNKNOWN_TOKEN");
            assert_eq!(error["soft_logout"], false);
        }
        server.get("/account/whoami", &bob.token).await.ok();
        server.login("alice").await;
    });
}

#[test]
fn guesses_at_one_password_are_limited_but_its_owner_gets_in_later() {
    with_config(
        |config| config.rate_limits_enabled = true,
        async |server| {
            server.user("alice").await;
            server.user("bob").await;
            let mut statuses = Vec::new();
            for _ in 0..14 {
                statuses.push(server.tell("/login", password_login("alice", "guess")).await.status.as_u16());
            }
            assert_eq!(statuses[0], 403);
            assert_eq!(statuses[13], 429);
            server.tell("/login", password_login("alice", PASSWORD)).await.error(429, "M_LIMIT_EXCEEDED");
            server.login("bob").await;
            server.wait(Duration::from_secs(600)).await;
            // Right passwords do not use the limit up.
            for _ in 0..20 {
                server.login("alice").await;
            }
        },
    );
}

#[test]
fn login_attempts_from_one_address_are_limited_and_others_are_not() {
    with_config(
        |config| config.rate_limits_enabled = true,
        async |server| {
            let attempt = async |peer: &str, forwarded: Option<&str>, number: usize| {
                let body = password_login(&format!("user{number}"), "guess").to_string();
                let mut request = Request::post("/_matrix/client/v3/login");
                if let Some(forwarded) = forwarded {
                    request = request.header("X-Forwarded-For", forwarded);
                }
                let mut request = request.body(Body::from(body)).unwrap();
                request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer.parse().unwrap()));
                server.request(request).await.status.as_u16()
            };
            let mut last = 0;
            for number in 0..35 {
                last = attempt("192.0.2.1:1000", None, number).await;
            }
            assert_eq!(last, 429);
            assert_eq!(attempt("192.0.2.2:1000", None, 100).await, 403);
            // Only a proxy on this machine is believed.
            assert_eq!(attempt("192.0.2.1:1000", Some("198.51.100.1"), 101).await, 429);
            assert_eq!(attempt("127.0.0.1:1000", Some("198.51.100.1"), 102).await, 403);
            assert_eq!(attempt("127.0.0.1:1000", Some("203.0.113.9, 192.0.2.1"), 103).await, 429);
        },
    );
}

#[test]
fn a_device_cannot_take_the_id_of_a_cross_signing_key() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let key = "nqOvzeuGWT/sRx3h7+MHoInYj3Uk2LD/unI9kDYcHwk";
        let master =
            json!({ "user_id": alice.user_id, "usage": ["master"], "keys": { format!("ed25519:{key}"): key } });
        let auth = json!({ "type": "m.login.password", "password": PASSWORD });
        let upload = json!({ "master_key": master, "auth": auth });
        server.post("/keys/device_signing/upload", &alice.token, upload).await.ok();
        let mut request = password_login("alice", PASSWORD);
        request["device_id"] = json!(key);
        server.tell("/login", request).await.error(403, "M_FORBIDDEN");
    });
}
