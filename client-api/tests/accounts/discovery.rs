//! Client-server API, "Server Discovery", "API Versions", "Capabilities negotiation".

use crate::server::{PASSWORD, password_login, with_config, with_server};
use serde_json::json;

#[test]
fn versions_have_no_gap() {
    with_server(async |server| {
        let body = server.ask("/_matrix/client/versions").await.ok();
        let expected: Vec<_> = (1..=19).map(|minor| json!(format!("v1.{minor}"))).collect();
        assert_eq!(body["versions"], json!(expected));
        assert!(body["unstable_features"].as_object().unwrap().values().all(serde_json::Value::is_boolean));
    });
}

#[test]
fn capabilities_name_every_room_version() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let body = server.get("/capabilities", &alice.token).await.ok();
        let versions = &body["capabilities"]["m.room_versions"];
        assert_eq!(versions["default"], "12");
        let available = versions["available"].as_object().unwrap();
        assert_eq!(available.len(), 12);
        assert!((1..=12).all(|version| available[&version.to_string()] == "stable"));
        assert_eq!(body["capabilities"]["m.change_password"], json!({ "enabled": true }));
    });
}

#[test]
fn well_known_files_say_what_the_operator_has_said() {
    with_server(async |server| {
        server.ask("/.well-known/matrix/client").await.error(404, "M_NOT_FOUND");
        server.ask("/.well-known/matrix/server").await.error(404, "M_NOT_FOUND");
    });
    with_config(
        |config| {
            config.public_client_url = Some("https://matrix.example.org".to_owned());
            config.public_federation_address = Some("matrix.example.org:443".to_owned());
        },
        async |server| {
            let client = json!({ "m.homeserver": { "base_url": "https://matrix.example.org" } });
            assert_eq!(server.ask("/.well-known/matrix/client").await.ok(), client);
            let federation = json!({ "m.server": "matrix.example.org:443" });
            assert_eq!(server.ask("/.well-known/matrix/server").await.ok(), federation);
            server.user("alice").await;
            assert_eq!(server.tell("/login", password_login("alice", PASSWORD)).await.ok()["well_known"], client);
        },
    );
}

#[test]
fn there_are_no_third_party_identifiers() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        assert_eq!(server.get("/account/3pid", &alice.token).await.ok(), json!({ "threepids": [] }));
    });
}
