//! TURN credentials.

use crate::server::{with_config, with_server};
use serde_json::json;

#[test]
fn without_turn_servers_there_are_no_credentials() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        assert_eq!(server.get("/voip/turnServer", &alice.token).await.ok(), json!({}));
        server.ask("/voip/turnServer").await.error(401, "M_MISSING_TOKEN");
    });
}

#[test]
fn credentials_are_what_the_turn_server_will_work_out() {
    use hmac::{Hmac, KeyInit, Mac};
    with_config(
        |config| {
            config.turn.uris = vec!["turn:turn.example.org?transport=udp".to_owned()];
            config.turn.shared_secret = Some("north gate".to_owned());
            config.turn.ttl_seconds = 3_600;
        },
        async |server| {
            let alice = server.user("alice").await;
            let answer = server.get("/voip/turnServer", &alice.token).await.ok();
            assert_eq!(answer["uris"], json!(["turn:turn.example.org?transport=udp"]));
            assert_eq!(answer["ttl"], 3_600);
            let username = answer["username"].as_str().unwrap();
            let (ends, user) = username.split_once(':').unwrap();
            assert_eq!(user, alice.user_id);
            assert_eq!(ends.parse::<u64>().unwrap(), server.services.world.now().millis() / 1_000 + 3_600);
            let mut mac = Hmac::<sha1::Sha1>::new_from_slice(b"north gate").unwrap();
            mac.update(username.as_bytes());
            let password = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                answer["password"].as_str().unwrap(),
            )
            .unwrap();
            mac.verify_slice(&password).unwrap();
        },
    );
}
