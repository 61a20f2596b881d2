//! Numbers: strict from room version 6 on, as they came before.

use serde_json::{Value, json};
use state_res::{
    canonical_json::{CanonicalError, Numbers, canonicalise, to_vec},
    hash,
    pdu::{Pdu, PduError},
    room_version::RoomVersion,
};

use crate::generate::event_json;

/// Spellings that are JSON numbers but no canonical ones.
const ODD: [&str; 11] = [
    "1.0",
    "1e3",
    "1E+3",
    "-1.5e-7",
    "0.1",
    "9007199254740992",
    "-9007199254740992",
    "18446744073709551616",
    "123456789012345678901234567890123456789012345678901234567890",
    "1e400",
    "-0.0",
];

fn with_number(version: RoomVersion, number: &str) -> String {
    event_json(version, "m.room.message", None, "{\"n\":NUMBER,\"l\":[NUMBER]}").replace("NUMBER", number)
}

/// Room version 6, "Canonical JSON": "Servers MUST strictly enforce the JSON format".
// clause: E1.4, E1.9
#[test]
pub(crate) fn strict_from_version_6() {
    for version in RoomVersion::ALL.into_iter().filter(|version| version.number() >= 6) {
        for number in ODD {
            let error = Pdu::parse(version, with_number(version, number).as_bytes()).unwrap_err();
            assert!(
                matches!(
                    &error,
                    PduError::Json(CanonicalError::NotAnInteger { .. } | CanonicalError::OutOfRange { .. })
                ),
                "{version} {number}: {error:?}"
            );
            assert_eq!(error.errcode(), "M_BAD_JSON");
        }
        for number in ["9007199254740991", "-9007199254740991", "0", "-1"] {
            let event = Pdu::parse(version, with_number(version, number).as_bytes()).unwrap();
            assert_eq!(event.content()["n"].to_string(), number);
        }
    }
}

/// Room version 1, "Canonical JSON": "Servers MUST NOT strictly enforce the JSON format"; so whatever the digits, they go
/// into the hash as they came, and come out as they came.
// clause: E1.8
#[test]
pub(crate) fn as_they_came_before_version_6() {
    for version in RoomVersion::ALL.into_iter().filter(|version| version.number() < 6) {
        for number in ODD.into_iter().chain(["-0"]) {
            let event = Pdu::parse(version, with_number(version, number).as_bytes()).unwrap();
            let expected = format!("\"content\":{{\"l\":[{number}],\"n\":{number}}}");
            assert!(event.canonical_str().contains(&expected), "{}", event.canonical_str());
            let again = Pdu::parse(version, event.canonical()).unwrap();
            assert_eq!(again, event);
            // The hash is over those digits and no others.
            let plain = Pdu::parse(version, with_number(version, "1").as_bytes()).unwrap();
            assert_ne!(event.content_hash(), plain.content_hash());
            assert_eq!(event.redacted().reference_hash(), event.reference_hash());
        }
        let one = Pdu::parse(version, with_number(version, "1000").as_bytes()).unwrap();
        let other = Pdu::parse(version, with_number(version, "1e3").as_bytes()).unwrap();
        assert_ne!(one.content_hash(), other.content_hash());
        assert_eq!(other.content()["n"].as_f64(), Some(1000.0));
    }
}

/// The same, with the hashed bytes written out by hand.
// clause: E1.8, E4.1
#[test]
pub(crate) fn lenient_hash_is_over_the_text() {
    let json = concat!(
        r#"{"type":"X","content":{"n":1e3,"m":100000000000000000000},"depth":1,"room_id":"!r:x","sender":"@a:x","#,
        r#""prev_events":[],"auth_events":[],"origin_server_ts":1,"hashes":{"sha256":""},"signatures":{}}"#
    );
    let event = Pdu::parse(RoomVersion::V3, json.as_bytes()).unwrap();
    let hashed = concat!(
        r#"{"auth_events":[],"content":{"m":100000000000000000000,"n":1e3},"depth":1,"origin_server_ts":1,"#,
        r#""prev_events":[],"room_id":"!r:x","sender":"@a:x","type":"X"}"#
    );
    use sha2::Digest as _;
    assert_eq!(event.content_hash(), <[u8; 32]>::from(sha2::Sha256::digest(hashed)));
}

/// Room version 1, "m.room.power_levels events accept values as floats": values beyond a double still have a value that
/// rules can look at.
#[test]
fn numbers_beyond_a_double_are_the_nearest_double() {
    let event = Pdu::parse(RoomVersion::V1, with_number(RoomVersion::V1, "-1e400").as_bytes()).unwrap();
    assert_eq!(event.content()["n"].as_f64(), Some(f64::MIN));
}

/// Appendices, "Canonical JSON": zero has no sign. A text with `-0` means zero; a float is refused whatever its value.
// clause: E1.5
#[test]
pub(crate) fn negative_zero() {
    let event = Pdu::parse(RoomVersion::V10, with_number(RoomVersion::V10, "-0").as_bytes()).unwrap();
    assert_eq!(event.content_json(), br#"{"l":[0],"n":0}"#);
    let event = Pdu::parse(RoomVersion::V5, with_number(RoomVersion::V5, "-0").as_bytes()).unwrap();
    assert_eq!(event.content_json(), br#"{"l":[-0],"n":-0}"#);
    assert_eq!(canonicalise(b"-0", Numbers::Strict).unwrap(), b"0");
    assert_eq!(to_vec(&json!(-0.0), Numbers::Whole).unwrap(), b"0");
    to_vec(&json!(-0.0), Numbers::Strict).unwrap_err();
}

/// Appendices, "Canonical JSON", "Examples": JSON that is no event may spell whole numbers as it likes.
// clause: E1.10
#[test]
pub(crate) fn whole_numbers() {
    // (serde_json reads long floats inexactly, so the last one only as text.)
    let exact = canonicalise(b"9007199254740991.0", Numbers::Whole).unwrap();
    assert_eq!(exact, b"9007199254740991");
    for (sent, written) in [("1.0", "1"), ("1e3", "1000"), ("-2.50e1", "-25"), ("0e5", "0")] {
        let from_text = canonicalise(sent.as_bytes(), Numbers::Whole).unwrap();
        assert_eq!(String::from_utf8(from_text).unwrap(), written);
        let value: Value = serde_json::from_str(sent).unwrap();
        assert_eq!(String::from_utf8(to_vec(&value, Numbers::Whole).unwrap()).unwrap(), written);
    }
    for refused in ["0.5", "1e16", "9007199254740992", "-9007199254740993", "1e400"] {
        canonicalise(refused.as_bytes(), Numbers::Whole).unwrap_err();
    }
}

/// `depth` and `origin_server_ts` are integers in every version ("Event format"); before version 6 up to 2^63-1.
// clause: E2.4
#[test]
pub(crate) fn depth_and_time_are_integers() {
    for version in RoomVersion::ALL {
        let event: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&event_json(version, "X", None, "{}")).unwrap();
        let is_strict = version.number() >= 6;
        let (least, most) = if is_strict { (-(1 << 53) + 1, (1 << 53) - 1) } else { (i64::MIN, i64::MAX) };
        for (field, read) in [("depth", Pdu::depth as fn(&Pdu) -> i64), ("origin_server_ts", Pdu::origin_server_ts)] {
            let with = |value: &str| {
                let mut event = event.clone();
                event.insert(field.to_owned(), "7777".into());
                let json = serde_json::Value::Object(event).to_string().replace("\"7777\"", value);
                Pdu::parse(version, json.as_bytes())
            };
            for right in [least, -1, 0, most] {
                assert_eq!(read(&with(&right.to_string()).unwrap()), right, "{version} {field}");
            }
            let beyond = [i128::from(least) - 1, i128::from(most) + 1].map(|wrong| wrong.to_string());
            for wrong in ["1.0", "1.5", "1e3", "\"1\"", "null", "true", "[]"]
                .iter()
                .copied()
                .chain(beyond.iter().map(String::as_str))
            {
                let error = with(wrong).unwrap_err();
                let is_number = wrong.parse::<f64>().is_ok();
                if is_strict && is_number {
                    assert_eq!(error.errcode(), "M_BAD_JSON", "{version} {field}: {wrong}");
                } else {
                    assert_eq!(error, PduError::WrongType { field, expected: "an integer" }, "{version}: {wrong}");
                }
            }
        }
    }
}

/// The free functions see what the event type sees.
#[test]
fn functions_on_objects_agree_with_events() {
    for version in RoomVersion::ALL {
        let json = event_json(version, "m.room.topic", Some(""), r#"{"topic":"x\ny","n":5}"#);
        let event = Pdu::parse(version, json.as_bytes()).unwrap();
        let object = serde_json::from_str(&json).unwrap();
        assert_eq!(hash::content_hash(version, &object).unwrap(), event.content_hash());
        assert_eq!(hash::reference_hash(version, &object).unwrap(), event.reference_hash());
    }
}

/// Outside events a number is an integer if its value is one, to the last digit. A fraction that a double would lose is one.
#[test]
fn whole_numbers_are_judged_by_their_digits() {
    for (text, whole) in [
        ("1e10", "10000000000"),
        ("1.0", "1"),
        ("-1.50e1", "-15"),
        ("120e-1", "12"),
        ("0.0e999999999999999999999", "0"),
        ("-0.0", "0"),
        ("0e-5", "0"),
        ("9007199254740991.000", "9007199254740991"),
        ("0.009007199254740991E18", "9007199254740991"),
        ("1e15", "1000000000000000"),
    ] {
        let canonical = canonicalise(text.as_bytes(), Numbers::Whole);
        assert_eq!(canonical.as_deref(), Ok(whole.as_bytes()), "{text}");
    }
    for text in ["-903333331333330.03", "1e-400", "0.1", "15e-1", "9007199254740990.01", "1e-999999999999999999999"] {
        let refused = canonicalise(text.as_bytes(), Numbers::Whole);
        assert!(matches!(refused, Err(CanonicalError::NotAnInteger { .. })), "{text}: {refused:?}");
    }
    for text in ["9007199254740992.0", "1e16", "-1e400", "1e999999999999999999999"] {
        let refused = canonicalise(text.as_bytes(), Numbers::Whole);
        assert!(matches!(refused, Err(CanonicalError::OutOfRange { .. })), "{text}: {refused:?}");
    }
}
