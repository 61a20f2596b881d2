//! Events of our own.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use state_res::{
    build::{EventFields, build, build_from_template},
    pdu::{MAX_PDU_BYTES, Pdu, PduError},
    room_version::RoomVersion,
    sign::{ContentHash, verify_event},
};

use crate::key;

fn fields(version: RoomVersion) -> EventFields {
    let content = json!({"body": "line\nbreak \"quoted\" \u{1F600}", "n": 5});
    let Value::Object(content) = content else { panic!("an object") };
    let ids = |names: &[&str]| {
        let id = |name: &&str| if version.number() <= 2 { format!("${name}:a.example") } else { format!("${name}") };
        names.iter().map(id).collect::<Vec<_>>()
    };
    let (prev_events, auth_events) = (ids(&["p"]), ids(&["q", "r\""]));
    EventFields {
        event_type: "org.example.\"type\"\n".to_owned(),
        state_key: Some("key\\".to_owned()),
        sender: "@alice:a.example".to_owned(),
        room_id: if version.number() >= 12 { format!("!{}", "r".repeat(43)) } else { "!r:a.example".to_owned() },
        content,
        reference_hashes: prev_events.iter().chain(&auth_events).map(|id| (id.clone(), [7; 32])).collect(),
        prev_events,
        auth_events,
        depth: 12,
        origin_server_ts: 1_700_000_000_000,
        redacts: None,
    }
}

/// Server-server API, "Adding hashes and signatures to outgoing events": what we build is what a peer reads, verifies and
/// names as we do.
// clause: E2.12, S2.8
#[test]
pub(crate) fn built_events_are_what_a_peer_reads() {
    for version in RoomVersion::ALL {
        for is_state in [true, false] {
            let mut fields = fields(version);
            fields.state_key = fields.state_key.filter(|_| is_state);
            let event = build(version, fields.clone(), "a.example", &key(1)).unwrap();
            let read = Pdu::parse(version, event.canonical()).unwrap();
            assert_eq!(read, event);
            assert_eq!(read.key(), event.key());
            let verified = verify_event(&read, |server, key_id| {
                (server == "a.example" && key_id == "ed25519:k1").then(|| key(1).verify_key())
            });
            assert_eq!(verified, Ok(ContentHash::Matches));
            assert_eq!(event.event_type(), fields.event_type);
            assert_eq!(event.state_key(), fields.state_key.as_deref());
            assert_eq!(event.content(), &fields.content);
            assert_eq!(read.content(), &fields.content);
            assert_eq!(event.prev_events(), fields.prev_events);
            assert_eq!(event.auth_events(), fields.auth_events);
            assert_eq!((event.depth(), event.origin_server_ts()), (12, 1_700_000_000_000));
            assert_eq!(event.room_id(), fields.room_id);
            // The same arguments, the same event.
            assert_eq!(build(version, fields, "a.example", &key(1)).unwrap(), event);
        }
    }
}

/// Room versions, "Event format", `depth`: 2^63 - 1 to version 5, 2^53 - 1 from version 6. Both are events.
// clause: E2.5
#[test]
pub(crate) fn depths_end_where_integers_do() {
    for version in RoomVersion::ALL {
        let greatest = if version <= RoomVersion::V5 { 9_223_372_036_854_775_807 } else { 9_007_199_254_740_991 };
        assert_eq!(version.max_depth(), greatest);
        let deepest = EventFields { depth: greatest, ..fields(version) };
        assert_eq!(build(version, deepest, "a.example", &key(1)).unwrap().depth(), greatest);
    }
}

/// Room version 12, "Event format": our create events have no room id, and give the room its id.
// clause: E2.13, E5.4
#[test]
pub(crate) fn create_events() {
    for version in RoomVersion::ALL {
        let mut fields = fields(version);
        fields.event_type = "m.room.create".to_owned();
        fields.prev_events.clear();
        fields.auth_events.clear();
        let event = build(version, fields.clone(), "a.example", &key(1)).unwrap();
        if version.number() >= 12 {
            assert_eq!(event.room_id()[1..], event.event_id()[1..]);
            assert!(!event.has_room_id());
        } else {
            assert_eq!(event.room_id(), fields.room_id);
        }
    }
}

/// Room version 11, "Moving the `redacts` property".
// clause: E2.9
#[test]
pub(crate) fn redactions() {
    for version in RoomVersion::ALL {
        let mut fields = fields(version);
        fields.event_type = "m.room.redaction".to_owned();
        fields.redacts = Some("$gone:a.example".to_owned());
        let event = build(version, fields, "a.example", &key(1)).unwrap();
        assert_eq!(event.redacts(), Some("$gone:a.example"));
        assert_eq!(event.to_object().contains_key("redacts"), version.number() < 11);
        assert_eq!(event.content().contains_key("redacts"), version.number() >= 11);
    }
}

/// Room version 1, "Event format": references carry hashes, which we must know; and an event id of ours names our server.
// clause: E2.2
#[test]
pub(crate) fn references_of_versions_1_and_2() {
    for version in [RoomVersion::V1, RoomVersion::V2] {
        let event = build(version, fields(version), "a.example", &key(1)).unwrap();
        let object = event.to_object();
        assert_eq!(object["prev_events"][0][1]["sha256"], "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
        assert!(event.event_id().starts_with('$') && event.event_id().ends_with(":a.example"));
        let mut later = fields(version);
        later.origin_server_ts += 1;
        assert_ne!(build(version, later, "a.example", &key(1)).unwrap().event_id(), event.event_id());
        let without = EventFields { reference_hashes: BTreeMap::new(), ..fields(version) };
        let error = build(version, without, "a.example", &key(1)).unwrap_err();
        assert!(matches!(error, PduError::NoReferenceHash { .. }));
    }
}

/// Client-server API, "Size limits", and room version 6, "Canonical JSON": what we may not send is not built.
// clause: E1.9
#[test]
pub(crate) fn bad_events_are_not_built() {
    let version = RoomVersion::V12;
    let error_of = |change: fn(&mut EventFields)| {
        let mut fields = fields(version);
        change(&mut fields);
        build(version, fields, "a.example", &key(1)).unwrap_err()
    };
    let large = error_of(|fields| {
        fields.content.insert("x".to_owned(), json!("x".repeat(MAX_PDU_BYTES)));
    });
    assert_eq!(large.errcode(), "M_TOO_LARGE");
    let float = error_of(|fields| {
        fields.content.insert("x".to_owned(), json!(1.5));
    });
    assert_eq!(float.errcode(), "M_BAD_JSON");
    let big = error_of(|fields| {
        fields.content.insert("x".to_owned(), json!(1_u64 << 53));
    });
    assert_eq!(big.errcode(), "M_BAD_JSON");
    assert_eq!(error_of(|fields| fields.state_key = Some("x".repeat(256))).errcode(), "M_TOO_LARGE");
    assert_eq!(error_of(|fields| fields.event_type = "x".repeat(256)).errcode(), "M_TOO_LARGE");
    assert_eq!(error_of(|fields| fields.prev_events = vec!["$x".to_owned(); 21]).errcode(), "M_BAD_JSON");
    assert_eq!(error_of(|fields| fields.sender = "alice".to_owned()).errcode(), "M_BAD_JSON");
    let mut deep = json!(1);
    for _ in 0..130 {
        deep = json!([deep]);
    }
    let mut fields = fields(version);
    fields.content.insert("x".to_owned(), deep);
    assert_eq!(build(version, fields, "a.example", &key(1)).unwrap_err().errcode(), "M_BAD_JSON");
}

/// Server-server API, "Joining Rooms": the template of another server becomes an event of ours.
// clause: S2.8
#[test]
pub(crate) fn templates() {
    for version in RoomVersion::ALL {
        let whole = build(version, fields(version), "a.example", &key(1)).unwrap();
        let mut template: Map<String, Value> = whole.to_object();
        for name in ["hashes", "signatures"] {
            template.remove(name);
        }
        template.insert("unsigned".to_owned(), json!({"x": 1}));
        template.insert("event_id".to_owned(), json!("$theirs:b.example"));
        let event = build_from_template(version, template, "a.example", &key(1)).unwrap();
        assert_eq!(event, whole, "{version}");
    }
}
