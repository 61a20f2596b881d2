//! Client-server API, "OpenID", and where third parties ask: server-server API, "OpenID".

use crate::server::{Server, with_server};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::Duration;
use tower::ServiceExt;

async fn ask(server: &Server, token: &str) -> (u16, Value) {
    let router = federation::inbound::router(server.services.inbound());
    let uri = format!("/_matrix/federation/v1/openid/userinfo?access_token={token}");
    let response = router.oneshot(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[test]
fn a_token_says_who_made_it_for_an_hour_and_nothing_else() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let path = format!("/user/{}/openid/request_token", alice.user_id);
        server.post(&path, &bob.token, json!({})).await.error(403, "M_FORBIDDEN");
        let made = server.post(&path, &alice.token, json!({})).await.ok();
        assert_eq!(
            (&made["token_type"], &made["matrix_server_name"], &made["expires_in"]),
            (&json!("Bearer"), &json!("example.org"), &json!(3600))
        );
        let token = made["access_token"].as_str().unwrap();
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{token}");
        assert_eq!(ask(&server, token).await, (200, json!({ "sub": alice.user_id })));
        server.get("/account/whoami", token).await.error(401, "M_UNKNOWN_TOKEN");
        // Not with another name, signature or date in it.
        for at in [0, 5, 20, token.len() / 2, token.len() - 10] {
            let mut forged = token.as_bytes().to_vec();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let (status, body) = ask(&server, std::str::from_utf8(&forged).unwrap()).await;
            assert_eq!((status, &body["errcode"]), (401, &json!("M_UNKNOWN_TOKEN")), "{at}");
        }
        for wrong in ["", "x", ".", "a.b", &alice.token] {
            assert_eq!(ask(&server, wrong).await.0, 401, "{wrong}");
        }
        server.wait(Duration::from_secs(3_601)).await;
        assert_eq!(ask(&server, token).await.0, 401);
        let fresh = server.post(&path, &alice.token, json!({})).await.ok();
        server.services.deactivate("alice", false).await.unwrap();
        assert_eq!(ask(&server, fresh["access_token"].as_str().unwrap()).await.0, 401);
    });
}
