//! What the tests of encryption do all the time.

use crate::server::{Login, Server};
use net::simulated::{Host, Simulation};
use serde_json::{Map, Value, json};
use services::{Config, config::RegistrationMode};
use state_res::sign::{SigningKey, sign_json};
use storage::{Faults, Store};

/// A server's machine, whose disk survives it.
pub(crate) struct Machine {
    pub(crate) host: Host,
    pub(crate) disk: Faults,
}

impl Machine {
    pub(crate) fn new(simulation: &Simulation, name: &str) -> Self {
        Self { host: simulation.host(name), disk: Faults::none() }
    }

    /// Starts the server, or starts it again after a crash.
    pub(crate) fn start(&self) -> Server {
        let mut config = Config::new(self.host.name());
        config.registration.mode = RegistrationMode::Open;
        config.rate_limits_enabled = false;
        let world = self.host.world();
        let store = Store::open_memory(&services::tables::SCHEMA, world.clone(), self.disk.clone());
        Server::start(config, world, store)
    }
}

impl Server {
    pub(crate) async fn upload(&self, who: &Login, body: Value) -> Value {
        self.post("/keys/upload", &who.token, body).await.ok()
    }

    /// Identity keys of a device, which anyone can make from its name.
    pub(crate) async fn upload_identity(&self, who: &Login) -> Value {
        let keys = identity(who);
        self.upload(who, json!({ "device_keys": keys })).await;
        keys
    }

    /// An incremental sync that does not wait.
    pub(crate) async fn sync(&self, who: &Login, since: &str) -> Value {
        self.get(&format!("/sync?since={since}"), &who.token).await.ok()
    }

    /// The token of an initial sync.
    pub(crate) async fn sync_token(&self, who: &Login) -> String {
        text(&self.get("/sync", &who.token).await.ok()["next_batch"])
    }

    /// A public room.
    pub(crate) async fn room(&self, by: &Login) -> String {
        text(&self.post("/createRoom", &by.token, json!({ "preset": "public_chat" })).await.ok()["room_id"])
    }

    pub(crate) async fn join(&self, who: &Login, room: &str) {
        self.post(&format!("/rooms/{room}/join"), &who.token, json!({})).await.ok();
    }

    pub(crate) async fn query(&self, who: &Login, users: &[&str]) -> Value {
        let users: Map<String, Value> = users.iter().map(|user| ((*user).to_owned(), json!([]))).collect();
        self.post("/keys/query", &who.token, json!({ "device_keys": users })).await.ok()
    }
}

#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no string: {value}")).to_owned()
}

/// A key pair made from a name.
pub(crate) fn key(name: &str) -> SigningKey {
    let mut seed = [7_u8; 32];
    for (index, byte) in name.bytes().enumerate() {
        seed[index % 32] = seed[index % 32].wrapping_mul(31).wrapping_add(byte);
    }
    SigningKey::from_seed("k", seed).unwrap()
}

pub(crate) fn public(name: &str) -> String {
    key(name).verify_key().to_base64()
}

/// Adds a signature by a user's key, under whatever id that key has.
pub(crate) fn signed(object: &Value, user_id: &str, key_id: &str, by: &SigningKey) -> Value {
    let mut copy = object.as_object().unwrap().clone();
    copy.remove("signatures");
    sign_json(&mut copy, user_id, by).unwrap();
    let mut object = object.clone();
    object["signatures"][user_id][format!("ed25519:{key_id}")] = copy["signatures"][user_id]["ed25519:k"].clone();
    object
}

/// The identity keys of a device, signed by itself.
pub(crate) fn identity(who: &Login) -> Value {
    let (user, device) = (who.user_id.as_str(), who.device_id.as_str());
    let name = format!("{user}{device}");
    let keys = json!({
        "user_id": user,
        "device_id": device,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": { format!("ed25519:{device}"): public(&name), format!("curve25519:{device}"): "c" },
    });
    signed(&keys, user, device, &key(&name))
}
