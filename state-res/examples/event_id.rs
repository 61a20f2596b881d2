//! Computes the id of an event, and makes one of our own.
//!
//! `cargo run -p state-res --example event_id`

use serde_json::{Map, Value, json};
use state_res::{
    build::{EventFields, build},
    pdu::Pdu,
    room_version::RoomVersion,
    sign::{SigningKey, VerifyKey},
    steps::Received,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // An event as another server sends it. Parsing checks format and limits, and computes the id.
    let json = br#"{
        "type": "m.room.message", "room_id": "!room:example.org", "sender": "@alice:example.org",
        "content": { "body": "Good morning", "msgtype": "m.text" },
        "depth": 12, "origin_server_ts": 1700000000000,
        "prev_events": ["$4OCozc0C4ys3ords-qwkBvAszmvHhKJ8YM4zQ7Rj-4M"], "auth_events": [],
        "hashes": { "sha256": "RJW2vUSLC3lXBBrRaaU0TOnBZKAqWXKVqJGGVjGGbBw" }, "signatures": {}
    }"#;
    let event = Pdu::parse(RoomVersion::V11, json)?;
    println!("the event is {}", event.event_id());
    assert_eq!(event.event_id(), event.redacted().event_id(), "redaction does not change an event's id");

    // Another room version forms it otherwise: version 3 uses the other alphabet of Base64.
    println!("in version 3 it would be {}", Pdu::parse(RoomVersion::V3, json)?.event_id());

    // An event of our own: hashed and signed.
    let key = SigningKey::from_seed("1", [7; 32])?;
    let fields = EventFields {
        room_id: "!room:example.org".to_owned(),
        sender: "@alice:example.org".to_owned(),
        event_type: "m.room.topic".to_owned(),
        state_key: Some(String::new()),
        content: object(json!({ "topic": "Mornings" })),
        ..EventFields::default()
    };
    let own = build(RoomVersion::V11, fields, "example.org", &key)?;
    println!("ours is {}", own.event_id());

    // What a receiver does with it: parse, then verify signatures and hash.
    let known: VerifyKey = key.verify_key();
    let received = Received::parse(RoomVersion::V11, own.canonical())?;
    let checked =
        received.check(|server, key_id| (server == "example.org" && key_id == "ed25519:1").then(|| known.clone()))?;
    assert_eq!(checked.event(), &own);
    Ok(())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
