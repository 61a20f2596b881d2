//! `GET /admin/whois/{userId}`.

use crate::server::{PASSWORD, with_server};
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use std::{net::SocketAddr, time::Duration};

#[test]
fn whois_is_for_oneself_and_administrators() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let second = server.login("alice").await;
        let path = format!("/admin/whois/{}", alice.user_id);
        let mut request = Request::get(format!("/_matrix/client/v3{path}"))
            .header("Authorization", format!("Bearer {}", alice.token))
            .body(Body::empty())
            .unwrap();
        request.extensions_mut().insert(ConnectInfo::<SocketAddr>(([192, 0, 2, 1], 1).into()));
        server.request(request).await.ok();
        // When a device was last used is written after the answer.
        server.wait(Duration::from_secs(1)).await;
        let told = server.get(&path, &alice.token).await.ok();
        assert_eq!(told["user_id"], alice.user_id.as_str());
        for device in [&alice.device_id, &second.device_id] {
            assert!(told["devices"][device]["sessions"][0]["connections"].is_array(), "{told}");
        }
        let used = &told["devices"][&alice.device_id]["sessions"][0]["connections"][0];
        assert!(used["ip"] == "192.0.2.1" && used["last_seen"].is_u64(), "{told}");
        server.get(&path, &bob.token).await.error(403, "M_FORBIDDEN");
        server.get("/admin/whois/@nobody:example.org", &bob.token).await.error(403, "M_FORBIDDEN");
        server.services.accounts.create_user("root", PASSWORD, true).await.unwrap();
        let root = server.login("root").await;
        assert_eq!(server.get(&path, &root.token).await.ok()["devices"].as_object().unwrap().len(), 2);
        server.get("/admin/whois/@nobody:example.org", &root.token).await.error(404, "M_NOT_FOUND");
        server.get("/admin/whois/nobody", &root.token).await.error(400, "M_INVALID_PARAM");
    });
}
