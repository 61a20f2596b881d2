//! Client-server API, "Voice over IP": credentials for the operator's TURN servers.

use crate::Services;
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha1::Sha1;

impl Services {
    /// Answer of `GET /voip/turnServer`: credentials of a user that end by themselves, made of the secret that the TURN servers share;
    /// nothing where no server is configured.
    #[must_use]
    pub fn turn_credentials(&self, user_id: &str) -> Map<String, Value> {
        let turn = &self.config.turn;
        let mut answer = Map::new();
        let Some(secret) = turn.shared_secret.as_deref().filter(|_| !turn.uris.is_empty()) else { return answer };
        let ends = self.world.now().millis() / 1000 + turn.ttl_seconds;
        let username = format!("{ends}:{user_id}");
        let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(username.as_bytes());
        answer.insert("password".into(), json!(STANDARD.encode(mac.finalize().into_bytes())));
        answer.insert("username".into(), json!(username));
        answer.insert("uris".into(), json!(turn.uris));
        answer.insert("ttl".into(), json!(turn.ttl_seconds));
        answer
    }
}
