//! Client-server API, "Account registration".

use crate::server::{PASSWORD, with_config, with_server};
use futures::future::join_all;
use serde_json::json;
use services::config::RegistrationMode;
use std::time::Duration;

#[test]
fn the_dummy_stage_is_asked_for_and_completes_the_registration() {
    with_server(async |server| {
        let request = json!({ "username": "alice", "password": PASSWORD });
        let asked = server.tell("/register", request.clone()).await;
        let session = asked.challenge("m.login.dummy");
        assert_eq!(asked.body.get("errcode"), None, "a question is no error: {}", asked.body);
        let mut request = request;
        request["auth"] = json!({ "type": "m.login.dummy", "session": session });
        request["device_id"] = json!("PHONE");
        request["initial_device_display_name"] = json!("Alice's phone");
        let alice = server.tell("/register", request).await.login();
        assert_eq!((alice.user_id.as_str(), alice.device_id.as_str()), ("@alice:example.org", "PHONE"));
        let me = server.get("/account/whoami", &alice.token).await.ok();
        assert_eq!(me, json!({ "user_id": "@alice:example.org", "device_id": "PHONE", "is_guest": false }));
        assert_eq!(server.get("/devices/PHONE", &alice.token).await.ok()["display_name"], "Alice's phone");
    });
}

#[test]
fn an_empty_request_asks_for_the_flows() {
    with_server(async |server| {
        server.send(http::Method::POST, "/register", None, "").await.challenge("m.login.dummy");
        server.tell("/register", json!({})).await.challenge("m.login.dummy");
    });
}

#[test]
fn a_request_with_only_a_session_tells_how_far_it_is() {
    with_server(async |server| {
        let session = server.tell("/register", json!({})).await.challenge("m.login.dummy");
        let again = json!({ "password": "p", "auth": { "session": session } });
        assert_eq!(server.tell("/register", again).await.challenge("m.login.dummy"), session);
    });
}

#[test]
fn wrong_auth_is_asked_for_again_with_the_reason() {
    with_server(async |server| {
        let with = |auth| json!({ "username": "alice", "password": "p", "auth": auth });
        let session = server.tell("/register", json!({})).await.challenge("m.login.dummy");
        let wrong = server.tell("/register", with(json!({ "type": "m.login.sso", "session": session }))).await;
        assert_eq!(wrong.challenge("m.login.dummy"), session);
        wrong.error(401, "M_FORBIDDEN");
        let unknown = server.tell("/register", with(json!({ "type": "m.login.dummy", "session": "x" }))).await;
        assert_ne!(unknown.challenge("m.login.dummy"), "x");
        unknown.error(401, "M_FORBIDDEN");
        server.tell("/register", with(json!({ "type": 5 }))).await.error(400, "M_BAD_JSON");
        server.ask("/register/available?username=alice").await.ok();
    });
}

#[test]
fn a_session_is_used_up_and_runs_out() {
    with_server(async |server| {
        let with = |name, session: &str| json!({ "username": name, "password": "p", "auth": { "type": "m.login.dummy", "session": session } });
        let session = server.tell("/register", json!({})).await.challenge("m.login.dummy");
        server.tell("/register", with("alice", &session)).await.ok();
        server.tell("/register", with("bob", &session)).await.error(401, "M_FORBIDDEN");
        let session = server.tell("/register", json!({})).await.challenge("m.login.dummy");
        server.wait(Duration::from_secs(3600)).await;
        server.tell("/register", with("bob", &session)).await.error(401, "M_FORBIDDEN");
    });
}

#[test]
fn names_are_checked_before_auth() {
    with_server(async |server| {
        server.user("alice").await;
        for name in ["", "a b", "ä", "a:b", "@alice:example.org", "al\u{0}ice", &"a".repeat(300)] {
            server.tell("/register", json!({ "username": name })).await.error(400, "M_INVALID_USERNAME");
        }
        server.tell("/register", json!({ "username": "alice" })).await.error(400, "M_USER_IN_USE");
        server.tell("/register", json!({ "username": "ALICE" })).await.error(400, "M_USER_IN_USE");
        server.ask("/register/available?username=alice").await.error(400, "M_USER_IN_USE");
        server.ask("/register/available?username=a%20b").await.error(400, "M_INVALID_USERNAME");
        assert_eq!(server.ask("/register/available?username=bob").await.ok(), json!({ "available": true }));
    });
}

#[test]
fn capital_letters_become_small_ones() {
    with_server(async |server| assert_eq!(server.user("Alice").await.user_id, "@alice:example.org"));
}

#[test]
fn parts_of_the_request_that_cannot_be_had_are_refused() {
    with_server(async |server| {
        let with = |key: &str, value: serde_json::Value| {
            let mut request = json!({ "username": "alice", "password": "p", "auth": { "type": "m.login.dummy" } });
            request[key] = value;
            request
        };
        server.tell("/register", with("password", json!(null))).await.error(400, "M_MISSING_PARAM");
        server.tell("/register", with("password", json!(""))).await.error(400, "M_WEAK_PASSWORD");
        server.tell("/register", with("password", json!("x".repeat(5000)))).await.error(400, "M_INVALID_PARAM");
        server.tell("/register", with("device_id", json!(""))).await.error(400, "M_INVALID_PARAM");
        server.tell("/register", with("device_id", json!("x".repeat(300)))).await.error(400, "M_INVALID_PARAM");
        server.tell("/register", with("device_id", json!("a\u{0}"))).await.error(400, "M_INVALID_PARAM");
        let long = json!("x".repeat(5000));
        server.tell("/register", with("initial_device_display_name", long)).await.error(400, "M_INVALID_PARAM");
        server.ask("/register/available?username=alice").await.ok();
    });
}

#[test]
fn login_can_be_inhibited_and_names_generated() {
    with_server(async |server| {
        let request = json!({ "password": PASSWORD, "inhibit_login": true, "auth": { "type": "m.login.dummy" } });
        let body = server.tell("/register", request).await.ok();
        assert_eq!((body.get("access_token"), body.get("device_id")), (None, None), "{body}");
        let user_id = body["user_id"].as_str().unwrap();
        assert!(user_id.starts_with('@') && user_id.ends_with(":example.org"), "{user_id}");
        assert_eq!(server.login(user_id).await.user_id, user_id);
    });
}

#[test]
fn guests_are_refused() {
    with_server(async |server| {
        server.tell("/register?kind=guest", json!({})).await.error(403, "M_FORBIDDEN");
        server.tell("/register?kind=user", json!({})).await.challenge("m.login.dummy");
    });
}

#[test]
fn closed_registration_refuses_everything() {
    with_config(
        |config| config.registration.mode = RegistrationMode::Closed,
        async |server| {
            let request = json!({ "username": "alice", "password": "p", "auth": { "type": "m.login.dummy" } });
            server.tell("/register", request).await.error(403, "M_FORBIDDEN");
            server.tell("/register", json!({})).await.error(403, "M_FORBIDDEN");
            let validity = "/_matrix/client/v1/register/m.login.registration_token/validity?token=x";
            server.ask(validity).await.error(403, "M_FORBIDDEN");
            server.ask("/register/available?username=alice").await.error(403, "M_FORBIDDEN");
        },
    );
}

#[test]
fn a_registration_token_lets_in_those_who_have_it() {
    with_config(
        |config| {
            config.registration.mode = RegistrationMode::Token;
            config.registration.token = Some("open sesame".to_owned());
        },
        async |server| {
            let stage = "m.login.registration_token";
            let with = |auth| json!({ "username": "alice", "password": "p", "auth": auth });
            let session = server.tell("/register", json!({})).await.challenge(stage);
            for auth in [
                json!({ "type": "m.login.dummy", "session": session }),
                json!({ "type": stage, "session": session }),
                json!({ "type": stage, "token": "", "session": session }),
                json!({ "type": stage, "token": "open sesam", "session": session }),
                json!({ "type": stage, "token": "open sesame!", "session": session }),
            ] {
                let refused = server.tell("/register", with(auth)).await;
                assert_eq!(refused.challenge(stage), session);
                refused.error(401, "M_FORBIDDEN");
            }
            let right = json!({ "type": stage, "token": "open sesame", "session": session });
            server.tell("/register", with(right)).await.ok();
            let valid =
                |token| format!("/_matrix/client/v1/register/m.login.registration_token/validity?token={token}");
            assert_eq!(server.ask(&valid("open%20sesame")).await.ok(), json!({ "valid": true }));
            assert_eq!(server.ask(&valid("open")).await.ok(), json!({ "valid": false }));
            let missing = "/_matrix/client/v1/register/m.login.registration_token/validity";
            server.ask(missing).await.error(400, "M_MISSING_PARAM");
        },
    );
}

#[test]
fn of_many_who_want_one_name_exactly_one_gets_it() {
    with_server(async |server| {
        let request = json!({ "username": "alice", "password": "p", "auth": { "type": "m.login.dummy" } });
        let answers = join_all((0..8).map(|_| server.tell("/register", request.clone()))).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!((won.len(), lost.len()), (1, 7));
        for answer in lost {
            answer.error(400, "M_USER_IN_USE");
        }
        for answer in won {
            let token = answer.login().token;
            assert_eq!(server.get("/devices", &token).await.ok()["devices"].as_array().unwrap().len(), 1);
        }
    });
}

#[test]
fn registrations_from_one_address_are_limited() {
    with_config(
        |config| config.rate_limits_enabled = true,
        async |server| {
            let mut refused = None;
            for number in 0..40 {
                let request =
                    json!({ "username": format!("u{number}"), "password": "p", "auth": { "type": "m.login.dummy" } });
                let answer = server.tell("/register", request).await;
                if answer.status != 200 {
                    refused = Some(answer);
                    break;
                }
            }
            let refused = refused.unwrap();
            let seconds: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
            let error = refused.error(429, "M_LIMIT_EXCEEDED");
            let wait = error["retry_after_ms"].as_u64().unwrap();
            assert_eq!(seconds, wait.div_ceil(1000));
            server.wait(Duration::from_millis(wait)).await;
            server.user("later").await;
        },
    );
}
