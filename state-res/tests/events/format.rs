//! The event format of every room version, its limits, and bad input.

use serde_json::{Map, Value, json};
use state_res::{
    canonical_json::{CanonicalError, MAX_NESTING},
    ids::EventKey,
    pdu::{MAX_PDU_BYTES, MAX_PDU_TEXT_BYTES, MAX_UNSIGNED_BYTES, Pdu, PduError},
    room_version::RoomVersion,
};

use crate::generate::{event_json, reference};

fn event(version: RoomVersion) -> Map<String, Value> {
    serde_json::from_str(&event_json(version, "m.room.topic", Some(""), r#"{"topic":"x"}"#)).unwrap()
}

fn parse(version: RoomVersion, event: &Map<String, Value>) -> Result<Pdu, PduError> {
    Pdu::parse(version, &serde_json::to_vec(event).unwrap())
}

/// The error for an event with one field changed.
fn error_with(version: RoomVersion, field: &str, value: Value) -> PduError {
    let mut event = event(version);
    event.insert(field.to_owned(), value);
    match parse(version, &event) {
        Err(error) => error,
        Ok(_) => panic!("version {version} accepts {field} {}", event[field]),
    }
}

/// Room versions, "Event format": every field comes out as it went in.
// clause: E2.1, E2.12
#[test]
pub(crate) fn fields() {
    for version in RoomVersion::ALL {
        let mut sent = event(version);
        sent.insert("unsigned".to_owned(), json!({"age": 5, "é\n": 1.5}));
        sent.insert("state_key".to_owned(), json!("a\"\\\n\u{1F600}"));
        sent.insert("type".to_owned(), json!("t\"y"));
        let event = parse(version, &sent).unwrap();
        assert_eq!(event.version(), version);
        assert_eq!(event.event_type(), "t\"y");
        assert_eq!(event.state_key(), Some("a\"\\\n\u{1F600}"));
        assert!(event.is_state() && event.is_state_of("t\"y", "a\"\\\n\u{1F600}"));
        assert_eq!(event.sender(), "@alice:a.example");
        assert_eq!(event.sender_server(), "a.example");
        assert_eq!(event.room_id(), sent["room_id"]);
        assert_eq!(Value::Object(event.content().clone()), sent["content"]);
        assert_eq!(event.content_json(), br#"{"topic":"x"}"#);
        assert_eq!((event.depth(), event.origin_server_ts()), (7, 1_600_000_000_000));
        assert_eq!(event.redacts(), None);
        assert_eq!(event.unsigned().unwrap()["é\n"], json!(1.5));
        assert!(!event.canonical_str().contains("unsigned"));
        assert_eq!(event.key(), EventKey::of(event.event_id()));
        let id = |reference: &Value| reference.as_str().or_else(|| reference[0].as_str()).unwrap().to_owned();
        let ids = |field: &str| sent[field].as_array().unwrap().iter().map(id).collect::<Vec<_>>();
        assert_eq!(event.prev_events(), ids("prev_events"));
        assert_eq!(event.auth_events(), ids("auth_events"));
        let signatures: Vec<_> = event.signatures().collect();
        assert_eq!(signatures, [("a.example".to_owned(), "ed25519:k1".to_owned(), "AAAA".to_owned())]);
        sent.remove("unsigned");
        assert_eq!(event.to_object(), sent);
        // What is stored is enough to have it back.
        let stored = Pdu::from_stored(version, event.event_id(), event.canonical().to_vec()).unwrap();
        assert_eq!(stored, event);
        assert_eq!(stored.room_id(), event.room_id());
    }
}

/// Room versions, "Event format": what is required, per version.
// clause: E2.1
#[test]
pub(crate) fn required_fields() {
    for version in RoomVersion::ALL {
        let number = version.number();
        for (field, is_required) in [
            ("sender", true),
            ("origin_server_ts", true),
            ("type", true),
            ("content", true),
            ("depth", true),
            ("hashes", true),
            ("signatures", true),
            ("prev_events", true),
            ("auth_events", true),
            ("room_id", true),
            ("event_id", number <= 2),
            ("state_key", false),
            ("unsigned", false),
        ] {
            let mut event = event(version);
            event.remove(field);
            match parse(version, &event) {
                Ok(_) => assert!(!is_required, "version {version} accepts an event without {field}"),
                Err(error) => {
                    assert!(is_required, "version {version} refuses an event without {field}: {error}");
                    assert!(matches!(error, PduError::Missing { field: missing } if missing == field), "{error:?}");
                    assert_eq!(error.errcode(), "M_BAD_JSON");
                }
            }
        }
        assert_eq!(error_with(version, "hashes", json!({"md5": "x"})), PduError::Missing { field: "hashes.sha256" });
    }
}

/// Room versions, "Event format": types of the fields.
// clause: E2.1, E2.2, E2.8
#[test]
pub(crate) fn wrong_types() {
    for version in RoomVersion::ALL {
        let wrong = [
            ("type", json!(1)),
            ("sender", json!({"a": 1})),
            ("state_key", Value::Null),
            ("content", json!([])),
            ("content", json!("{}")),
            ("hashes", json!("x")),
            ("hashes", json!({"sha256": 1})),
            ("signatures", json!([])),
            ("signatures", json!({"a.example": "x"})),
            ("signatures", json!({"a.example": {"ed25519:1": 5}})),
            ("unsigned", json!([1])),
            ("prev_events", json!({})),
            ("auth_events", json!("$x")),
            ("prev_events", json!([1])),
            ("auth_events", json!([null])),
            ("depth", json!("7")),
            ("origin_server_ts", json!(true)),
            ("room_id", json!(1)),
        ];
        for (field, value) in wrong {
            let error = error_with(version, field, value);
            assert!(
                matches!(&error, PduError::WrongType { field: named, .. } if named.starts_with(field)),
                "{version} {field}: {error:?}"
            );
            assert_eq!(error.errcode(), "M_BAD_JSON");
        }
        // Pairs of id and hashes in versions 1 and 2, ids alone from 3 on.
        let other = if version.number() <= 2 { RoomVersion::V3 } else { RoomVersion::V1 };
        error_with(version, "prev_events", json!([reference(other, "p")]));
        if version.number() <= 2 {
            error_with(version, "prev_events", json!([["$a:x"]]));
            error_with(version, "prev_events", json!([["$a:x", "hash"]]));
            error_with(version, "prev_events", json!([["$a:x", {"sha256": "x"}, 1]]));
            error_with(version, "event_id", json!(1));
            error_with(version, "event_id", json!("$nodomain"));
            error_with(version, "event_id", json!("nosigil:a.example"));
        }
    }
}

/// Appendices, "Event IDs": what refers to an event has their sigil.
// clause: E2.14
#[test]
pub(crate) fn references_begin_as_event_ids() {
    for version in RoomVersion::ALL {
        let with = |id: &str| if version.number() <= 2 { json!([id, {"sha256": "x"}]) } else { json!(id) };
        for field in ["prev_events", "auth_events"] {
            for bad in ["", "x", "!x:a.example", "\u{0}$x", " $x:a.example", "é"] {
                let error = error_with(version, field, json!([reference(version, "p"), with(bad)]));
                assert!(
                    matches!(error, PduError::NotAnId { field: named, .. } if named == field),
                    "{version}: {error:?}"
                );
                assert_eq!(error.errcode(), "M_BAD_JSON");
            }
            // Nothing more is asked of them.
            for odd in ["$", "$x", "$x:a.example", "$/+:\u{1}\""] {
                let mut event = event(version);
                event.insert(field.to_owned(), json!([with(odd)]));
                let event = parse(version, &event).unwrap();
                let list = if field == "prev_events" { event.prev_events() } else { event.auth_events() };
                assert_eq!(list, [odd], "{version}");
            }
        }
    }
}

/// Appendices, "User Identifiers", "Room IDs": what must have the form of an identifier.
// clause: E2.6, E2.7
#[test]
pub(crate) fn identifiers() {
    for version in RoomVersion::ALL {
        for bad in ["alice:a.example", "@alice", "@alice:", "@a\0:x", ""] {
            assert!(matches!(error_with(version, "sender", json!(bad)), PduError::NotAnId { field: "sender", .. }));
        }
        let mut historical = event(version);
        historical.insert("sender".to_owned(), json!("@ÄLICE \u{1}:a.example:8448"));
        assert_eq!(parse(version, &historical).unwrap().sender_server(), "a.example:8448");

        let bad_rooms = if version.number() >= 12 {
            ["!room:a.example", "x", "!short", "$xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]
        } else {
            ["room:a.example", "!room", "", "$room:a.example"]
        };
        for bad in bad_rooms {
            assert!(matches!(error_with(version, "room_id", json!(bad)), PduError::NotAnId { field: "room_id", .. }));
        }
        // What is right but for one character.
        let hash = "x".repeat(42);
        let nearly = ["+", "/", "=", "."].map(|character| format!("!{hash}{character}"));
        let mut odd = event(version);
        if version.number() >= 12 {
            for bad in nearly {
                assert!(matches!(error_with(version, "room_id", json!(bad)), PduError::NotAnId { .. }), "{bad}");
            }
            odd.insert("room_id".to_owned(), json!(format!("!{hash}_")));
        } else {
            let bad = json!("!a\0b:a.example");
            assert!(matches!(error_with(version, "room_id", bad), PduError::NotAnId { .. }), "{version}");
            odd.insert("room_id".to_owned(), json!("!x:no server, but a domain"));
        }
        parse(version, &odd).unwrap();
    }
}

/// Client-server API, "Size limits": 255 bytes for `sender`, `room_id`, `state_key`, `type`, `event_id`; bytes, not
/// characters.
// clause: E3.2
#[test]
pub(crate) fn field_limits() {
    for version in RoomVersion::ALL {
        let mut limits = vec![
            ("type", "é".repeat(127) + "x", "é".repeat(128)),
            ("state_key", "k".repeat(255), "k".repeat(256)),
            ("state_key", "\"".repeat(255), "\"".repeat(256)),
            ("sender", format!("@{}:a.example", "a".repeat(244)), format!("@{}:a.example", "a".repeat(245))),
        ];
        if version.number() < 12 {
            let room = |length: usize| format!("!{}:x", "r".repeat(length - 3));
            limits.push(("room_id", room(255), room(256)));
        }
        if version.number() <= 2 {
            let id = |length: usize| format!("${}:x", "e".repeat(length - 3));
            limits.push(("event_id", id(255), id(256)));
        }
        for (field, longest, too_long) in limits {
            let mut event = event(version);
            event.insert(field.to_owned(), json!(longest));
            parse(version, &event).unwrap_or_else(|error| panic!("{version} {field}: {error}"));
            let error = error_with(version, field, json!(too_long));
            assert_eq!(error, PduError::FieldTooLong { field, bytes: 256, max: 255 });
            assert_eq!(error.errcode(), "M_TOO_LARGE");
            assert!(error.is_too_large());
        }
        let id = |length: usize| format!("${}:x", "e".repeat(length - 3));
        let long = |length| {
            let id = json!(id(length));
            if version.number() <= 2 { json!([[id, {"sha256": "x"}]]) } else { json!([id]) }
        };
        let mut event = event(version);
        event.insert("prev_events".to_owned(), long(255));
        parse(version, &event).unwrap();
        assert!(error_with(version, "prev_events", long(256)).is_too_large());
    }
}

/// Room versions, "Event format": at most 20 `prev_events` and 10 `auth_events`.
// clause: E2.3
#[test]
pub(crate) fn reference_limits() {
    for version in RoomVersion::ALL {
        for (field, max) in [("prev_events", 20), ("auth_events", 10)] {
            let list = |count: usize| Value::Array(vec![reference(version, "p"); count]);
            let mut event = event(version);
            event.insert(field.to_owned(), list(max));
            parse(version, &event).unwrap();
            assert_eq!(error_with(version, field, list(max + 1)), PduError::TooManyReferences { field, max },);
            event.insert(field.to_owned(), json!([]));
            parse(version, &event).unwrap();
        }
    }
}

/// Client-server API, "Size limits": "The complete event MUST NOT be larger than 65536 bytes … including any signatures,
/// and encoded as Canonical JSON". White space, escapes and `unsigned` do not count.
// clause: E2.11, E3.1, E3.3
#[test]
pub(crate) fn size_limit() {
    for version in RoomVersion::ALL {
        let mut event = event(version);
        event.insert("content".to_owned(), json!({"body": ""}));
        let base = parse(version, &event).unwrap().canonical().len();
        event.insert("content".to_owned(), json!({"body": "x".repeat(MAX_PDU_BYTES - base)}));
        assert_eq!(parse(version, &event).unwrap().canonical().len(), MAX_PDU_BYTES);
        event.insert("unsigned".to_owned(), json!({"age": 1}));
        parse(version, &event).unwrap();
        let escaped = serde_json::to_string(&event).unwrap().replace('x', "\\u0078");
        if version.number() < 12 {
            assert_eq!(Pdu::parse(version, escaped.as_bytes()).unwrap().canonical().len(), MAX_PDU_BYTES);
        }
        event.insert("content".to_owned(), json!({"body": "x".repeat(MAX_PDU_BYTES - base + 1)}));
        let error = parse(version, &event).unwrap_err();
        assert_eq!(error, PduError::TooLarge { bytes: MAX_PDU_BYTES + 1, max: MAX_PDU_BYTES });
        assert_eq!(error.errcode(), "M_TOO_LARGE");
        // Signatures count.
        event.insert("content".to_owned(), json!({"body": "x".repeat(MAX_PDU_BYTES - base)}));
        event["signatures"]["b.example"] = json!({"ed25519:1": "x"});
        assert!(parse(version, &event).unwrap_err().is_too_large());
        // A text that is long for other reasons is not read at all.
        let padded = format!("{}{}", event_json(version, "X", None, "{}"), " ".repeat(MAX_PDU_TEXT_BYTES));
        assert!(Pdu::parse(version, padded.as_bytes()).unwrap_err().is_too_large());
    }
}

/// What is not hashed has a bound of its own.
// clause: E3.3
#[test]
pub(crate) fn unsigned_is_bounded() {
    for version in RoomVersion::ALL {
        let with = |bytes: usize| {
            let mut event = event(version);
            // {"a":""} has 8 bytes.
            event.insert("unsigned".to_owned(), json!({"a": "x".repeat(bytes - 8)}));
            parse(version, &event)
        };
        with(MAX_UNSIGNED_BYTES).unwrap();
        assert!(with(MAX_UNSIGNED_BYTES + 1).unwrap_err().is_too_large());
    }
}

/// Server-server API, "Checks performed on receipt of a PDU", 1: broken text is no event.
// clause: P1
#[test]
pub(crate) fn broken_text() {
    for version in RoomVersion::ALL {
        let json = event_json(version, "m.room.message", None, r#"{"body":"é"}"#);
        for end in 0..json.len() {
            let error = Pdu::parse(version, &json.as_bytes()[..end]).unwrap_err();
            assert_eq!(error.errcode(), "M_NOT_JSON", "{error}");
        }
        let error = Pdu::parse(version, json.replace('é', "e").replace("\"e\"", "\"\u{1}\"").as_bytes()).unwrap_err();
        assert_eq!(error.errcode(), "M_NOT_JSON");
        let mut bytes = json.clone().into_bytes();
        let at = json.find('é').unwrap();
        bytes[at] = 0xff;
        assert_eq!(Pdu::parse(version, &bytes).unwrap_err(), PduError::Json(CanonicalError::NotUtf8 { at }));
        for other in ["null", "[]", "\"x\"", "1"] {
            assert_eq!(Pdu::parse(version, other.as_bytes()).unwrap_err(), PduError::NotAnObject);
        }
    }
}

/// The bound on nesting holds in every version and every part of the event.
// clause: E1.7
#[test]
pub(crate) fn nesting() {
    for version in RoomVersion::ALL {
        let content = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        // Two levels are the event and its content.
        let deepest = event_json(version, "X", None, &content(MAX_NESTING - 2));
        let event = Pdu::parse(version, deepest.as_bytes()).unwrap();
        assert_eq!(event.content().len(), 1);
        assert_eq!(event.redacted().event_id(), event.event_id());
        for levels in [MAX_NESTING - 1, 130, 10_000] {
            let error = Pdu::parse(version, event_json(version, "X", None, &content(levels)).as_bytes()).unwrap_err();
            assert_eq!(error, PduError::Json(CanonicalError::TooDeep));
            assert_eq!(error.errcode(), "M_BAD_JSON");
        }
        let unsigned = format!("{{\"unsigned\":{},", content(130));
        let json = event_json(version, "X", None, "{}").replacen('{', &unsigned, 1);
        assert_eq!(Pdu::parse(version, json.as_bytes()).unwrap_err(), PduError::Json(CanonicalError::TooDeep));
    }
}

/// What is refused can be named all the same.
#[test]
fn refused_texts_have_ids() {
    for version in RoomVersion::ALL {
        let good = event_json(version, "X", None, "{}");
        let event = Pdu::parse(version, good.as_bytes()).unwrap();
        assert_eq!(Pdu::id_of_refused(version, good.as_bytes()).as_deref(), Some(event.event_id()), "{version}");
        // Content is redacted away before the hash is taken, so that all of these go by the same id as the good one.
        for content in [format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200)), "{\"a\":1.5}".to_owned()] {
            let json = event_json(version, "X", None, &content);
            let id = Pdu::id_of_refused(version, json.as_bytes());
            assert_eq!(id.as_deref(), Some(event.event_id()), "{version}: {content}");
        }
        let unsigned = good.replacen('{', "{\"unsigned\":[1,2],", 1);
        assert_eq!(Pdu::id_of_refused(version, unsigned.as_bytes()).as_deref(), Some(event.event_id()), "{version}");
        for nothing in ["[]", "{", "7", "", &"[".repeat(100_000), &format!("{{\"a\":\"{}\"}}", "x".repeat(600_000))] {
            assert_eq!(Pdu::id_of_refused(version, nothing.as_bytes()), None, "{version}");
        }
    }
    let id = |id: &str| Pdu::id_of_refused(RoomVersion::V1, format!("{{\"event_id\":{id}}}").as_bytes());
    assert_eq!(id("\"$a:b\"").as_deref(), Some("$a:b"));
    for wrong in ["7", "\"a:b\"", &format!("\"${}\"", "x".repeat(255))] {
        assert_eq!(id(wrong), None);
    }
}

/// Room version 12, "Event format": the create event has no `room_id`; the room's id is its event id with `!`.
// clause: E2.13, E5.4
#[test]
pub(crate) fn room_id_of_version_12() {
    let json = event_json(RoomVersion::V12, "m.room.create", Some(""), "{}");
    let create = Pdu::parse(RoomVersion::V12, json.as_bytes()).unwrap();
    assert!(!create.has_room_id());
    assert_eq!(create.room_id().strip_prefix('!'), create.event_id().strip_prefix('$'));
    assert_eq!(create.room_id().len(), 44);
    assert!(!create.canonical_str().contains("room_id"));
    assert_eq!(create.redacted().room_id(), create.room_id());
    // Rule 1.2 rejects a create event with one; its format is not the reason.
    let with = json.replacen('{', "{\"room_id\":\"!x:a.example\",", 1);
    let create = Pdu::parse(RoomVersion::V12, with.as_bytes()).unwrap();
    assert!(create.has_room_id());
    // Before version 12 it must have one.
    let error = Pdu::parse(RoomVersion::V11, json.as_bytes()).unwrap_err();
    assert_eq!(error, PduError::Missing { field: "room_id" });
}

/// Room versions 1, 3, 4, "Event IDs".
// clause: E2.8, E5.1, E5.2, E5.3
#[test]
pub(crate) fn event_ids() {
    for version in RoomVersion::ALL {
        let event = parse(version, &event(version)).unwrap();
        let (id, hash) = (event.event_id(), event.reference_hash());
        use base64::prelude::*;
        match version.number() {
            1 | 2 => assert_eq!(id, "$event:a.example"),
            3 => assert_eq!(id, format!("${}", BASE64_STANDARD_NO_PAD.encode(hash))),
            _ => assert_eq!(id, format!("${}", BASE64_URL_SAFE_NO_PAD.encode(hash))),
        }
    }
    // In versions 1 and 2 the id says nothing of the event that carries it.
    for version in [RoomVersion::V1, RoomVersion::V2] {
        let one = parse(version, &event(version)).unwrap();
        for (field, value) in [("content", json!({"topic": "y"})), ("type", json!("X")), ("room_id", json!("!y:b"))] {
            let mut other = event(version);
            other.insert(field.to_owned(), value);
            let other = parse(version, &other).unwrap();
            assert_eq!((other.event_id(), other.key()), (one.event_id(), one.key()), "{version} {field}");
            assert_ne!(other, one);
            assert_ne!((other.content_hash(), other.reference_hash()), (one.content_hash(), one.reference_hash()));
            assert_eq!(other.redacted().event_id(), one.event_id());
        }
    }
    // A field of that name is an ordinary one from version 3 on: it changes the hash, not the id directly.
    let mut event = event(RoomVersion::V10);
    let plain = parse(RoomVersion::V10, &event).unwrap();
    event.insert("event_id".to_owned(), json!("$mine:a.example"));
    let with = parse(RoomVersion::V10, &event).unwrap();
    assert_ne!(with.event_id(), "$mine:a.example");
    assert_ne!(with.event_id(), plain.event_id());
}

/// Room version 11, "Moving the `redacts` property".
// clause: E2.1, E2.9, E3.2
#[test]
pub(crate) fn redacts() {
    for version in RoomVersion::ALL {
        let json = event_json(version, "m.room.redaction", None, "{\"redacts\":\"$in:content\"}");
        let json = json.replacen('{', "{\"redacts\":\"$top:level\",", 1);
        let event = Pdu::parse(version, json.as_bytes()).unwrap();
        let expected = if version.number() >= 11 { "$in:content" } else { "$top:level" };
        assert_eq!(event.redacts(), Some(expected), "{version}");
        // Only redactions redact.
        let other = Pdu::parse(version, json.replace("m.room.redaction", "m.room.message").as_bytes()).unwrap();
        assert_eq!(other.redacts(), None);
        // And what is no event id redacts nothing, but its length is nobody's concern.
        let long = format!("${}", "e".repeat(300));
        let long = json.replace("$top:level", &long).replace("$in:content", &long);
        assert_eq!(Pdu::parse(version, long.as_bytes()).unwrap().redacts().map(str::len), Some(301), "{version}");
        let number = json.replace("\"$top:level\"", "7");
        let said = Pdu::parse(version, number.as_bytes());
        if version.number() >= 11 {
            assert_eq!(said.unwrap().redacts(), Some("$in:content"));
        } else {
            assert_eq!(said.unwrap_err(), PduError::WrongType { field: "redacts", expected: "a string" });
        }
        Pdu::parse(version, number.replace("m.room.redaction", "m.room.message").as_bytes()).unwrap();
    }
}

/// Two servers must not see two events in one text: of two members of one name the last counts everywhere.
// clause: E1.6
#[test]
pub(crate) fn duplicate_members() {
    let json = event_json(RoomVersion::V10, "X", None, r#"{"a":1,"a":2}"#);
    let twice = json.replacen('{', "{\"sender\":\"@mallory:m.example\",\"\\u0074ype\":\"Y\",", 1);
    let event = Pdu::parse(RoomVersion::V10, twice.as_bytes()).unwrap();
    let plain = Pdu::parse(RoomVersion::V10, json.as_bytes()).unwrap();
    assert_eq!(event, plain);
    assert_eq!(event.content()["a"], 2);
}

/// A value as serde_json has it makes the same event as its text.
#[test]
fn from_value() {
    for version in RoomVersion::ALL {
        let event = event(version);
        assert_eq!(Pdu::from_value(version, &event).unwrap(), parse(version, &event).unwrap());
    }
    let mut float = event(RoomVersion::V6);
    float.insert("content".to_owned(), json!({"a": 1.5}));
    assert_eq!(Pdu::from_value(RoomVersion::V6, &float).unwrap_err().errcode(), "M_BAD_JSON");
    Pdu::from_value(RoomVersion::V5, &event(RoomVersion::V5)).unwrap();
}
