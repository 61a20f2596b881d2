//! Events as servers exchange them, in raw JSON: canonical form, hashes, signatures, ids. Written for this suite alone, from the
//! specification, and only as far as its peers need it.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{NO_PAD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// Members of an event that redaction keeps in every room version.
const KEPT: [&str; 12] = [
    "event_id",
    "type",
    "room_id",
    "sender",
    "state_key",
    "content",
    "hashes",
    "signatures",
    "depth",
    "prev_events",
    "auth_events",
    "origin_server_ts",
];
/// Members that it keeps up to room version 10.
const KEPT_ONCE: [&str; 3] = ["prev_state", "origin", "membership"];

/// Base64 as servers write it.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

/// Reads Base64, padded or not, and whatever the bits say that no byte needs: in the specification's own vectors they are not zero.
pub fn from_base64(text: &str) -> Result<Vec<u8>> {
    let lenient = NO_PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true);
    let reader = GeneralPurpose::new(&STANDARD, lenient);
    reader.decode(text).context("no Base64")
}

/// Canonical JSON of a value whose numbers are integers: keys in order, nothing between, the shortest escapes.
pub fn canonical(value: &Value) -> String {
    // serde_json keeps keys in the order of their bytes, which is that of their code points, and escapes no more than it must.
    value.to_string()
}

/// Adds a signature of the object without `signatures` and `unsigned` (appendices, "Signing JSON").
pub fn sign_json(object: &mut Map<String, Value>, server: &str, key_id: &str, key: &SigningKey) {
    let mut bare = object.clone();
    bare.remove("signatures");
    bare.remove("unsigned");
    let signature = base64(&key.sign(canonical(&Value::Object(bare)).as_bytes()).to_bytes());
    let all = object.entry("signatures").or_insert_with(|| json!({}));
    all[server][key_id] = json!(signature);
}

/// An event as redaction leaves it (room versions, "Redactions").
pub fn redacted(version: u8, event: &Map<String, Value>) -> Map<String, Value> {
    let mut left = event.clone();
    left.retain(|name, _| KEPT.contains(&name.as_str()) || (version <= 10 && KEPT_ONCE.contains(&name.as_str())));
    let kept: &[&str] = match event.get("type").and_then(Value::as_str).unwrap_or_default() {
        "m.room.create" if version >= 11 => return left,
        "m.room.create" => &["creator"],
        "m.room.member" if version >= 9 => &["membership", "join_authorised_via_users_server"],
        "m.room.member" => &["membership"],
        "m.room.join_rules" if version >= 8 => &["join_rule", "allow"],
        "m.room.join_rules" => &["join_rule"],
        "m.room.history_visibility" => &["history_visibility"],
        "m.room.power_levels" => &[
            "ban",
            "events",
            "events_default",
            "kick",
            "redact",
            "state_default",
            "users",
            "users_default",
            if version >= 11 { "invite" } else { "users" },
        ],
        _ => &[],
    };
    if let Some(Value::Object(content)) = left.get_mut("content") {
        content.retain(|name, _| kept.contains(&name.as_str()));
    }
    left
}

/// The reference hash (server-server API, "Calculating the reference hash for an event").
pub fn reference_hash(version: u8, event: &Map<String, Value>) -> Vec<u8> {
    let mut bare = redacted(version, event);
    bare.remove("signatures");
    bare.remove("unsigned");
    Sha256::digest(canonical(&Value::Object(bare)).as_bytes()).to_vec()
}

/// An event's id: its own member in room versions 1 and 2, its reference hash later.
pub fn event_id(version: u8, event: &Map<String, Value>) -> String {
    match version {
        1 | 2 => event.get("event_id").and_then(Value::as_str).unwrap_or_default().to_owned(),
        3 => format!("${}", base64(&reference_hash(version, event))),
        _ => format!("${}", URL_SAFE_NO_PAD.encode(reference_hash(version, event))),
    }
}

/// Adds content hash and signature to an event that is otherwise complete.
pub fn finish(version: u8, event: &mut Map<String, Value>, server: &str, key_id: &str, key: &SigningKey) {
    event.remove("signatures");
    event.remove("hashes");
    event.remove("unsigned");
    let hash = Sha256::digest(canonical(&Value::Object(event.clone())).as_bytes());
    event.insert("hashes".to_owned(), json!({ "sha256": base64(&hash) }));
    let mut signed = redacted(version, event);
    sign_json(&mut signed, server, key_id, key);
    let signatures = signed.remove("signatures").unwrap_or_default();
    event.insert("signatures".to_owned(), signatures);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's vectors (appendices, "Cryptographic Test Vectors").
    #[test]
    fn vectors_of_the_specification() {
        let seed = from_base64("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1").unwrap();
        let key = SigningKey::from_bytes(&seed.try_into().unwrap());
        let mut empty = Map::new();
        sign_json(&mut empty, "domain", "ed25519:1", &key);
        assert_eq!(
            empty["signatures"]["domain"]["ed25519:1"],
            "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"
        );
        let event = json!({
            "room_id": "!x:domain", "sender": "@a:domain", "signatures": {}, "hashes": {}, "origin": "domain",
            "origin_server_ts": 1_000_000, "type": "X", "content": {}, "prev_events": [], "auth_events": [], "depth": 3,
            "unsigned": { "age_ts": 1_000_000 },
        });
        let mut event = event.as_object().unwrap().clone();
        finish(1, &mut event, "domain", "ed25519:1", &key);
        assert_eq!(event["hashes"]["sha256"], "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos");
        assert_eq!(
            event["signatures"]["domain"]["ed25519:1"],
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg"
        );
    }
}
