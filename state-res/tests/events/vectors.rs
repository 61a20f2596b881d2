//! The test vectors of the specification, and some of our own in its manner.

use serde_json::{Map, Value, json};
use state_res::{
    canonical_json::{Numbers, canonicalise, to_vec},
    room_version::RoomVersion,
    sign::{hash_and_sign_event, sign_json, verify_json},
};

use crate::spec_key;

/// Both ways to canonical JSON: from the text, and from a value.
fn canonical(json: &str) -> String {
    let from_text = canonicalise(json.as_bytes(), Numbers::Whole).unwrap();
    let from_value = to_vec(&serde_json::from_str(json).unwrap(), Numbers::Whole).unwrap();
    assert_eq!(String::from_utf8_lossy(&from_text), String::from_utf8_lossy(&from_value), "{json}");
    String::from_utf8(from_text).unwrap()
}

fn object(json: &str) -> Map<String, Value> {
    serde_json::from_str(json).unwrap()
}

/// Appendices, "Canonical JSON", "Examples": all of them, in order.
// clause: E1.1, E1.10
#[test]
pub(crate) fn canonical_json_examples() {
    assert_eq!(canonical("{}"), "{}");
    assert_eq!(canonical("{\n    \"one\": 1,\n    \"two\": \"Two\"\n}"), r#"{"one":1,"two":"Two"}"#);
    assert_eq!(canonical("{\n    \"b\": \"2\",\n    \"a\": \"1\"\n}"), r#"{"a":"1","b":"2"}"#);
    assert_eq!(canonical(r#"{"b":"2","a":"1"}"#), r#"{"a":"1","b":"2"}"#);
    let nested = r#"
        {
            "auth": {
                "success": true,
                "mxid": "@john.doe:example.com",
                "profile": {
                    "display_name": "John Doe",
                    "three_pids": [
                        {"medium": "email", "address": "john.doe@example.org"},
                        {"medium": "msisdn", "address": "123456789"}
                    ]
                }
            }
        }"#;
    let expected = concat!(
        r#"{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":["#,
        r#"{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"#,
        r#""success":true}}"#
    );
    assert_eq!(canonical(nested), expected);
    assert_eq!(canonical(r#"{"a": "日本語"}"#), r#"{"a":"日本語"}"#);
    assert_eq!(canonical(r#"{"本": 2, "日": 1}"#), r#"{"日":1,"本":2}"#);
    assert_eq!(canonical(r#"{"a": "\u65E5"}"#), r#"{"a":"日"}"#);
    assert_eq!(canonical(r#"{"a": null}"#), r#"{"a":null}"#);
    assert_eq!(canonical(r#"{"a": -0, "b": 1e10}"#), r#"{"a":0,"b":10000000000}"#);
}

/// Appendices, "Canonical JSON", "Grammar": every control character and its one spelling.
// clause: E1.3
#[test]
pub(crate) fn control_characters() {
    let expected = [
        "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007", "\\b", "\\t", "\\n",
        "\\u000b", "\\f", "\\r", "\\u000e", "\\u000f", "\\u0010", "\\u0011", "\\u0012", "\\u0013", "\\u0014",
        "\\u0015", "\\u0016", "\\u0017", "\\u0018", "\\u0019", "\\u001a", "\\u001b", "\\u001c", "\\u001d", "\\u001e",
        "\\u001f",
    ];
    for (code, expected) in expected.into_iter().enumerate() {
        // In upper case, so that the spelling changes.
        let sent = format!("{{\"\\u{code:04X}\":\"a\\u{code:04X}b\"}}");
        assert_eq!(canonical(&sent), format!("{{\"{expected}\":\"a{expected}b\"}}"));
    }
    // Delete and the C1 controls are not among the characters to escape; neither are the line separators of JavaScript.
    assert_eq!(canonical(r#"{"a":"\u007f\u0085\u2028\u2029"}"#), "{\"a\":\"\u{7f}\u{85}\u{2028}\u{2029}\"}");
}

/// Appendices, "Canonical JSON", "Grammar": quotation marks, backslashes, slashes, line breaks.
// clause: E1.3
#[test]
pub(crate) fn quotes_and_line_breaks() {
    assert_eq!(canonical(r#"{"a\"b":"\/ \\ \" \u0022 \u005c \u002F"}"#), r#"{"a\"b":"/ \\ \" \" \\ /"}"#);
    assert_eq!(canonical("{\"body\":\"one\\ntwo\\r\\nthree\\ttab\"}"), "{\"body\":\"one\\ntwo\\r\\nthree\\ttab\"}");
}

/// Appendices, "Canonical JSON": "lexicographically sorted by Unicode codepoint", not by UTF-16 code unit, and not by the
/// key as it is written: a quotation mark sorts as U+0022, a line break as U+000A.
// clause: E1.2
#[test]
pub(crate) fn keys_sort_by_code_point() {
    assert_eq!(
        canonical("{\"\u{10000}\":1,\"\u{FFFF}\":2,\"\u{E000}\":3,\"\u{D7FF}\":4}"),
        "{\"\u{D7FF}\":4,\"\u{E000}\":3,\"\u{FFFF}\":2,\"\u{10000}\":1}"
    );
    // The same through escapes: surrogate pairs.
    assert_eq!(canonical(r#"{"\ud800\udc00":1,"\uffff":2}"#), "{\"\u{FFFF}\":2,\"\u{10000}\":1}");
    assert_eq!(
        canonical(r#"{"a":1,"a ":2,"a!":3,"a\"":4,"a#":5,"":6,"\n":7,"A":8,"[":9,"\\":10,"]":11}"#),
        r##"{"":6,"\n":7,"A":8,"[":9,"\\":10,"]":11,"a":1,"a ":2,"a!":3,"a\"":4,"a#":5}"##
    );
    // A key that is another's beginning comes first.
    assert_eq!(canonical(r#"{"ab":1,"a":2,"abc":3}"#), r#"{"a":2,"ab":1,"abc":3}"#);
}

/// Appendices, "Cryptographic Test Vectors", "JSON Signing".
// clause: S1.1, S1.2
#[test]
pub(crate) fn json_signing() {
    let cases = [
        ("{}", "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
        (
            r#"{"one": 1, "two": "Two"}"#,
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ];
    for (json, signature) in cases {
        let mut signed = object(json);
        sign_json(&mut signed, "domain", &spec_key()).unwrap();
        let mut expected = object(json);
        expected.insert("signatures".to_owned(), json!({"domain": {"ed25519:1": signature}}));
        assert_eq!(signed, expected);
        verify_json(&signed, "domain", "ed25519:1", &spec_key().verify_key()).unwrap();
    }
}

/// Appendices, "Cryptographic Test Vectors", "Event Signing": both events.
// clause: E4.1, S2.1
#[test]
pub(crate) fn event_signing() {
    let mut minimal = object(
        r#"{
            "room_id": "!x:domain", "sender": "@a:domain", "origin": "domain", "origin_server_ts": 1000000,
            "signatures": {}, "hashes": {}, "type": "X", "content": {}, "prev_events": [], "auth_events": [],
            "depth": 3, "unsigned": {"age_ts": 1000000}
        }"#,
    );
    let mut expected = minimal.clone();
    expected.insert("hashes".to_owned(), json!({"sha256": "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos"}));
    let signature = "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg";
    expected.insert("signatures".to_owned(), json!({"domain": {"ed25519:1": signature}}));
    hash_and_sign_event(RoomVersion::V1, &mut minimal, "domain", &spec_key()).unwrap();
    assert_eq!(minimal, expected);

    let mut redactable = object(
        r#"{
            "content": {"body": "Here is the message content"}, "event_id": "$0:domain", "origin": "domain",
            "origin_server_ts": 1000000, "type": "m.room.message", "room_id": "!r:domain", "sender": "@u:domain",
            "signatures": {}, "unsigned": {"age_ts": 1000000}
        }"#,
    );
    let mut expected = redactable.clone();
    expected.insert("hashes".to_owned(), json!({"sha256": "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g"}));
    let signature = "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA";
    expected.insert("signatures".to_owned(), json!({"domain": {"ed25519:1": signature}}));
    hash_and_sign_event(RoomVersion::V1, &mut redactable, "domain", &spec_key()).unwrap();
    assert_eq!(redactable, expected);
}

/// Appendices, "Signing Details": the example object, by the key it names. (The specification does not give the private
/// key, and its example signature is by another one; what is checked is that `unsigned` and other signatures are not
/// covered and stay.)
// clause: S1.1, S1.2
#[test]
pub(crate) fn signing_leaves_unsigned_and_other_signatures_alone() {
    let mut signed = object(r#"{"name":"example.org","unsigned":{"age_ts":1}}"#);
    sign_json(&mut signed, "a.example", &crate::key(1)).unwrap();
    sign_json(&mut signed, "b.example", &crate::key(2)).unwrap();
    signed.insert("unsigned".to_owned(), json!({"age_ts": 2}));
    assert_eq!(signed["unsigned"], json!({"age_ts": 2}));
    verify_json(&signed, "a.example", "ed25519:k1", &crate::key(1).verify_key()).unwrap();
    verify_json(&signed, "b.example", "ed25519:k1", &crate::key(2).verify_key()).unwrap();
    verify_json(&signed, "b.example", "ed25519:k1", &crate::key(1).verify_key()).unwrap_err();
    signed.insert("name".to_owned(), json!("example.com"));
    verify_json(&signed, "a.example", "ed25519:k1", &crate::key(1).verify_key()).unwrap_err();
}
