//! The redaction algorithm of every room version: all of its lists, written out as the specification has them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use state_res::{pdu::Pdu, redact::redact, room_version::RoomVersion};

use crate::generate::event_json;

/// Room versions, "Redactions": the top-level keys that are kept.
fn kept_top_level(version: u8) -> Vec<&'static str> {
    let mut kept = vec![
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
    if version <= 10 {
        kept.extend(["prev_state", "origin", "membership"]);
    }
    kept
}

/// Room versions, "Redactions": the keys of the content that are kept; `None` for all.
fn kept_content(version: u8, event_type: &str) -> Option<Vec<&'static str>> {
    Some(match (event_type, version) {
        ("m.room.member", ..=8) => vec!["membership"],
        ("m.room.member", 9 | 10) => vec!["membership", "join_authorised_via_users_server"],
        ("m.room.member", _) => vec!["membership", "join_authorised_via_users_server", "third_party_invite"],
        ("m.room.create", ..=10) => vec!["creator"],
        ("m.room.create", _) => return None,
        ("m.room.join_rules", ..=7) => vec!["join_rule"],
        ("m.room.join_rules", _) => vec!["join_rule", "allow"],
        ("m.room.power_levels", _) => {
            let mut kept =
                vec!["ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"];
            kept.extend((version >= 11).then_some("invite"));
            kept
        }
        ("m.room.aliases", ..=5) => vec!["aliases"],
        ("m.room.history_visibility", _) => vec!["history_visibility"],
        ("m.room.redaction", 11..) => vec!["redacts"],
        _ => vec![],
    })
}

const TYPES: [&str; 10] = [
    "m.room.member",
    "m.room.create",
    "m.room.join_rules",
    "m.room.power_levels",
    "m.room.aliases",
    "m.room.history_visibility",
    "m.room.redaction",
    "m.room.message",
    "m.room.third_party_invite",
    "m.room.name",
];

/// Every key that some version and type keeps, and a few that none does, in every version and type.
// clause: E4.2, E5.5, R1.*, R2.3
#[test]
pub(crate) fn every_list() {
    let mut content = Map::new();
    for name in [
        "membership",
        "join_authorised_via_users_server",
        "creator",
        "room_version",
        "additional_creators",
        "join_rule",
        "allow",
        "ban",
        "events",
        "events_default",
        "invite",
        "kick",
        "redact",
        "state_default",
        "users",
        "users_default",
        "notifications",
        "aliases",
        "history_visibility",
        "redacts",
        "body",
        "displayname",
        "",
        "membershi",
        "membership\"",
    ] {
        content.insert(name.to_owned(), json!({"x\"": [name, {"signed": 1}]}));
    }
    content.insert("third_party_invite".to_owned(), json!({"display_name": "d", "signed": {"token": "t\n"}, "z": 1}));
    for version in RoomVersion::ALL {
        let number = version.number();
        for event_type in TYPES {
            let text = event_json(version, event_type, Some(""), &Value::Object(content.clone()).to_string());
            let mut event: Map<String, Value> = serde_json::from_str(&text).unwrap();
            for name in ["origin", "membership", "prev_state", "redacts", "replaces_state", "age_ts", "event_id", "x"] {
                event.entry(name).or_insert_with(|| json!("$v:a.example"));
            }
            let pdu = Pdu::parse(version, &serde_json::to_vec(&event).unwrap()).unwrap();
            event.insert("unsigned".to_owned(), json!({"age": 1}));

            let mut expected = event.clone();
            let kept: BTreeSet<_> = kept_top_level(number).into_iter().collect();
            expected.retain(|name, _| kept.contains(name.as_str()));
            if let Some(kept) = kept_content(number, event_type) {
                let content = expected["content"].as_object_mut().unwrap();
                content.retain(|name, _| kept.contains(&name.as_str()));
                if let Some(invite) = content.get_mut("third_party_invite") {
                    *invite = json!({"signed": {"token": "t\n"}});
                }
            }
            assert_eq!(redact(version, &event), expected, "{version} {event_type}");
            let redacted = pdu.redacted();
            assert_eq!(redacted.to_object(), expected, "{version} {event_type}");
            // "Calculating the reference hash for an event": over the redacted event, so redacting changes no id.
            assert_eq!(redacted.event_id(), pdu.event_id());
            assert_eq!(redacted.reference_hash(), pdu.reference_hash());
            assert_eq!(Pdu::parse(version, redacted.canonical()).unwrap(), redacted);
            // Redacting again changes nothing.
            assert_eq!(redacted.redacted(), redacted);
        }
    }
}

/// Room version 11, "Redactions": of `third_party_invite` the `signed` key is kept, so what is no object keeps nothing.
/// (ruma 0.22 keeps such a value whole; see `oracle.rs`.)
// clause: R1.10
#[test]
pub(crate) fn odd_third_party_invites() {
    for version in [RoomVersion::V11, RoomVersion::V12] {
        for (sent, kept) in [
            (json!("text"), json!({"membership": "invite"})),
            (json!([1]), json!({"membership": "invite"})),
            (json!({"display_name": "x"}), json!({"membership": "invite", "third_party_invite": {}})),
            (json!({"signed": 5}), json!({"membership": "invite", "third_party_invite": {"signed": 5}})),
        ] {
            let content = json!({"membership": "invite", "third_party_invite": sent});
            let text = event_json(version, "m.room.member", Some("@b:x"), &content.to_string());
            let event = Pdu::parse(version, text.as_bytes()).unwrap();
            assert_eq!(Value::Object(event.redacted().content().clone()), kept);
            let object = serde_json::from_str(&text).unwrap();
            assert_eq!(redact(version, &object)["content"], kept);
        }
    }
}

/// A redacted event drops `unsigned`, and nobody else's copy of the event changes.
// clause: R1.1
#[test]
pub(crate) fn redaction_makes_a_copy() {
    let text = event_json(RoomVersion::V10, "m.room.message", None, r#"{"body":"secret"}"#);
    let text = text.replacen('{', "{\"unsigned\":{\"age\":1},", 1);
    let event = Pdu::parse(RoomVersion::V10, text.as_bytes()).unwrap();
    let redacted = event.redacted();
    assert!(!redacted.canonical_str().contains("secret"));
    assert_eq!(redacted.unsigned(), None);
    assert_eq!(event.content()["body"], "secret");
    assert_eq!(event.unsigned().unwrap()["age"], 1);
}
