//! Redaction: on text and on values, of events and of what is none.

use serde_json::{Map, Value};
use state_res::{
    pdu::Pdu,
    redact::redact,
    room_version::RoomVersion,
    sign::{ContentHash, SigningKey, hash_and_sign_event, verify_event},
};

use super::{
    bytes::Bytes,
    events::{TYPES, complete},
};

/// A room version, an event type, and any JSON object, which is taken for an event and for the content of one.
pub fn redaction(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let version = bytes.version();
    let event_type = bytes.pick(&TYPES);
    let sign = bytes.sometimes(64);
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(bytes.rest()) else { return };

    check_object(version, &object);
    let event = complete(version, event_type, object);
    check_object(version, &event);
    if let Ok(event) = Pdu::from_value(version, &event) {
        check_event(&event);
    }
    if sign {
        check_signed(version, event);
    }
}

fn check_object(version: RoomVersion, object: &Map<String, Value>) {
    let redacted = redact(version, object);
    assert_eq!(redact(version, &redacted), redacted, "once is enough");
    assert_contained(&redacted, object);
    // From version 11 on nothing of a create event's content goes.
    if version.rules().redaction.keeps_create_content && object.get("type") == Some(&Value::from("m.room.create")) {
        assert_eq!(redacted.get("content"), object.get("content"));
    }
}

/// Redaction only removes.
fn assert_contained(redacted: &Map<String, Value>, object: &Map<String, Value>) {
    for (name, value) in redacted {
        match (value, object.get(name)) {
            (Value::Object(inner), Some(Value::Object(of))) => assert_contained(inner, of),
            (value, of) => assert_eq!(Some(value), of, "{name}"),
        }
    }
}

fn check_event(event: &Pdu) {
    let version = event.version();
    let redacted = event.redacted();
    assert_eq!(redacted.event_id(), event.event_id());
    assert_eq!(redacted.reference_hash(), event.reference_hash());
    assert_eq!(redacted.redacted().canonical_str(), redacted.canonical_str(), "once is enough");
    assert_eq!(redacted.to_object(), redact(version, &event.to_object()), "text and values agree");
    // Read from scratch it is the same event.
    let read = Pdu::parse(version, redacted.canonical()).expect("a redacted event is an event");
    assert_eq!(read, redacted);
    assert_eq!(
        (event.sender(), event.event_type(), event.state_key(), event.room_id(), event.depth()),
        (redacted.sender(), redacted.event_type(), redacted.state_key(), redacted.room_id(), redacted.depth())
    );
    assert_eq!((event.prev_events(), event.auth_events()), (redacted.prev_events(), redacted.auth_events()));
}

/// Signatures hold before and after.
fn check_signed(version: RoomVersion, mut event: Map<String, Value>) {
    let key = SigningKey::from_seed("fuzz", [3; 32]).expect("a good version");
    if hash_and_sign_event(version, &mut event, "a", &key).is_err() {
        return;
    }
    let Ok(event) = Pdu::from_value(version, &event) else { return };
    // What lets a user in through another server, or through an identifier, needs or waives signatures.
    let content = event.content();
    if event.event_type() == "m.room.member" && content.contains_key("join_authorised_via_users_server") {
        return;
    }
    let verify =
        |event: &Pdu| verify_event(event, |server, id| (server == "a" && id == key.key_id()).then(|| key.verify_key()));
    if version.rules().strict_canonical_json {
        assert_eq!(verify(&event), Ok(ContentHash::Matches));
        assert!(verify(&event.redacted()).is_ok());
    }
}
