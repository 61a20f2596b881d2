//! `causeway-state event`.

use serde_json::{Value, json};
use state_res::{
    hash,
    room_version::RoomVersion,
    sign::{hash_and_sign_event, sign_json},
};

use crate::support::{Duel, answer, complaint, id_of, key_of, pdu};

fn event(version: RoomVersion, event: &Value) -> Value {
    answer(&["event", "-", "--room-version", version.as_str()], event)
}

/// It prints what the library says.
#[test]
fn what_servers_compute() {
    for version in RoomVersion::ALL {
        for json in Duel::new(version, true).room.events {
            let event_of_library = pdu(version, &json);
            let report = event(version, &json);
            assert_eq!(report["canonical"], event_of_library.canonical_str());
            assert_eq!(report["content_hash"], hash::encode(&event_of_library.content_hash()));
            assert_eq!(report["content_hash_matches"], true);
            assert_eq!(report["reference_hash"], hash::encode(&event_of_library.reference_hash()));
            assert_eq!(report["event_id"], event_of_library.event_id());
            assert_eq!(report["room_id"], event_of_library.room_id());
            assert_eq!(report["redacted"], event_of_library.redacted().canonical_str());
        }
    }
}

/// An event that is yet to be hashed and signed: the hash that it prints is the one to be put in.
#[test]
fn without_hashes_and_signatures() {
    for version in RoomVersion::ALL {
        let unsigned = Duel::new(version, false).room.events.pop().unwrap();
        let report = event(version, &unsigned);
        assert_eq!(report["content_hash_matches"], Value::Null);
        assert_eq!(report["event_id"], id_of(version, unsigned.as_object().unwrap()));
        assert!(!report["canonical"].as_str().unwrap().contains("hashes"), "nothing is made up");
        assert!(!report["redacted"].as_str().unwrap().contains("hashes"), "nothing is made up");

        let mut signed = unsigned.as_object().unwrap().clone();
        hash_and_sign_event(version, &mut signed, "a", &key_of("a")).unwrap();
        assert_eq!(signed["hashes"]["sha256"], report["content_hash"]);
        // What is signed is the redacted form with the hash in it.
        let mut redacted: Value = serde_json::from_str(report["redacted"].as_str().unwrap()).unwrap();
        redacted["hashes"] = signed["hashes"].clone();
        sign_json(redacted.as_object_mut().unwrap(), "a", &key_of("a")).unwrap();
        assert_eq!(signed["signatures"], redacted["signatures"]);
    }
}

/// A reader's note of the id does not change it; another `event_id` is a member that is hashed ("Redactions" keeps it).
#[test]
fn a_noted_event_id() {
    for version in RoomVersion::ALL.into_iter().filter(|version| *version >= RoomVersion::V3) {
        let mut json = Duel::new(version, true).room.events.pop().unwrap();
        let id = event(version, &json)["event_id"].clone();
        json["event_id"] = id.clone();
        let noted = event(version, &json);
        assert_eq!(noted["event_id"], id);
        assert_eq!(noted["content_hash_matches"], true);
        json["event_id"] = json!("$another");
        assert_ne!(event(version, &json)["event_id"], id);
        assert_eq!(event(version, &json)["event_id"], id_of(version, json.as_object().unwrap()));
    }
}

/// The canonical form is that of the event as given, `unsigned` and a note of the id included; no hash and no id covers them.
#[test]
fn canonical_is_all_that_was_given() {
    for version in RoomVersion::ALL {
        let mut json = Duel::new(version, true).room.events.pop().unwrap();
        let bare = event(version, &json);
        json["unsigned"] = json!({ "prev_content": { "b": "\n", "a": 1 }, "age": 7 });
        json["event_id"] = bare["event_id"].clone();
        let whole = event(version, &json);
        let canonical = state_res::canonical_json::to_vec(&json, state_res::canonical_json::Numbers::Strict).unwrap();
        assert_eq!(whole["canonical"].as_str().unwrap().as_bytes(), canonical);
        for of in ["content_hash", "content_hash_matches", "reference_hash", "event_id", "room_id", "redacted"] {
            assert_eq!(whole[of], bare[of], "{version}: {of}");
        }
        // Numbers there stay as they came: nothing that is hashed or signed depends on them.
        json["unsigned"] = json!({ "age": 1.5 });
        assert!(event(version, &json)["canonical"].as_str().unwrap().contains(r#""unsigned":{"age":1.5}"#));
    }
}

/// A hash is what its Base64 decodes to: padding and unused bits at the end do not matter, other bytes do.
#[test]
fn content_hashes_are_compared_as_bytes() {
    for version in RoomVersion::ALL {
        let mut json = Duel::new(version, true).room.events.pop().unwrap();
        let sent = json["hashes"]["sha256"].as_str().unwrap().to_owned();
        assert_eq!(sent.len(), 43);
        // The last of 43 characters holds four bits of the hash and two that are not used.
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (before, last) = sent.split_at(42);
        let last = ALPHABET.iter().position(|of| *of == last.as_bytes()[0]).unwrap();
        let with_last = |last: usize| format!("{before}{}", ALPHABET[last] as char);
        for (text, matches) in [
            (format!("{sent}="), true),
            (with_last(last | 3), true),
            (with_last(last ^ 4), false),
            (sent[..40].to_owned(), false),
            (format!("{sent}*"), false),
            (String::new(), false),
        ] {
            json["hashes"]["sha256"] = json!(text);
            assert_eq!(event(version, &json)["content_hash_matches"], matches, "{version}: {text}");
        }
    }
}

/// What is wrong is said in a sentence with its place.
#[test]
fn broken() {
    let message = r#"{"type":"m","sender":"@a:b","room_id":"!r:b","content":{},"depth":1,"origin_server_ts":1,
"prev_events":[],"auth_events":[]"#;
    for (version, input, parts) in [
        ("12", "{".to_owned(), &["standard input:1:", "not JSON"][..]),
        ("12", "[]".to_owned(), &["must be a JSON object"]),
        ("12", "{}".to_owned(), &["`type` is missing"]),
        ("12", "{} {}".to_owned(), &["standard input:1:4", "not JSON"]),
        ("99", "{}".to_owned(), &["--room-version", "room version \"99\" is not known"]),
        ("6", format!("{message},\"x\":1.5}}"), &["standard input:2:39: x: the number 1.5"]),
        ("6", format!("{message},\n\"hashes\":[]}}"), &["standard input:3:10", "hashes", "must be an object"]),
        ("6", format!("{message},\"x\":{}}}", "[".repeat(200) + &"]".repeat(200)), &["nested too deeply"]),
        ("6", format!("{message},\"x\":\"\\ud800\"}}"), &["standard input:2:"]),
        ("6", format!("{message},\"x\":\"{}\"}}", "x".repeat(70_000)), &["more than the 65536 allowed"]),
        ("1", format!("{message}}}"), &["`event_id` is missing"]),
    ] {
        let complaint = complaint(&["event", "-", "--room-version", version], input.as_bytes());
        for part in parts {
            assert!(complaint.contains(part), "{part}: {complaint}");
        }
    }
    let complaint = complaint(&["event", "/nowhere/at all", "--room-version", "1"], b"");
    assert!(complaint.contains("/nowhere/at all"), "{complaint}");
}

/// From room version 6 on integers alone are canonical; before, numbers are hashed as they came.
#[test]
fn odd_numbers_stay_as_they_are() {
    let json = br#"{"type":"m","sender":"@a:b","room_id":"!r:b","content":{"x":1.50},"depth":1,"origin_server_ts":1,
"prev_events":[],"auth_events":[]}"#;
    let output = crate::support::run(&["event", "-", "--room-version=5"], json);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["canonical"].as_str().unwrap().contains(r#"{"x":1.50}"#));
}
