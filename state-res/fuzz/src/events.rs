//! Events around a piece of JSON.

use serde_json::{Map, Value, json};
use state_res::{
    hash,
    room_version::{EventIdFormat, RoomVersion},
};

/// Event types that some rule knows, and one that none does.
pub(super) const TYPES: [&str; 11] = [
    "m.room.message",
    "m.room.member",
    "m.room.create",
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.redaction",
    "m.room.third_party_invite",
    "m.room.aliases",
    "m.room.history_visibility",
    "m.room.topic",
    "org.example.other",
];

/// An event with everything that its format asks for.
pub(super) fn complete(version: RoomVersion, event_type: &str, content: Map<String, Value>) -> Map<String, Value> {
    let mut event = json!({
        "type": event_type,
        "sender": "@alice:a",
        "state_key": "",
        "content": content,
        "depth": 7,
        "origin_server_ts": 1_000,
        "prev_events": [],
        "auth_events": [],
        "hashes": { "sha256": "" },
        "signatures": {},
    });
    if !version.rules().create_event_is_room_id {
        event["room_id"] = json!("!room:a");
    } else if event_type != "m.room.create" {
        event["room_id"] = json!(format!("!{}", "A".repeat(43)));
    }
    if version.rules().event_id == EventIdFormat::Sent {
        event["event_id"] = json!("$event:a");
    }
    match event {
        Value::Object(event) => event,
        _ => Map::new(),
    }
}

/// The id that a reference hash gives.
pub(super) fn id_of(version: RoomVersion, reference_hash: &[u8; 32]) -> Option<String> {
    let hash = hash::encode(reference_hash);
    match version.rules().event_id {
        EventIdFormat::Sent => None,
        EventIdFormat::Base64Hash => Some(format!("${hash}")),
        EventIdFormat::UrlSafeBase64Hash => Some(format!("${}", hash.replace('+', "-").replace('/', "_"))),
    }
}
