//! Canonical JSON beyond the specification's examples: the other format of the name, odd and broken input.

use proptest::prelude::*;
use serde::Serialize as _;
use serde_canonical_json::CanonicalFormatter;
use serde_json::{Map, Value, json};
use state_res::canonical_json::{CanonicalError, MAX_NESTING, Numbers, canonicalise, to_vec};

/// What the `serde_canonical_json` crate makes of a value: OLPC's canonical JSON, another format of the same name.
fn olpc(value: &Value) -> String {
    let mut serializer = serde_json::Serializer::with_formatter(Vec::new(), CanonicalFormatter::new());
    value.serialize(&mut serializer).unwrap();
    String::from_utf8(serializer.into_inner()).unwrap()
}

fn ours(value: &Value) -> String {
    String::from_utf8(to_vec(value, Numbers::Strict).unwrap()).unwrap()
}

fn value(
    text: impl Strategy<Value = String> + Clone + 'static,
    key: impl Strategy<Value = String> + Clone + 'static,
) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Value::from),
        (-20_i64..20).prop_map(Value::from),
        text.prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            prop::collection::vec((key.clone(), inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Where both formats agree: no control characters, and no characters in keys that sort before a quotation mark or are
    /// escaped. Inside an object only: outside, the crate has nowhere to write its pieces in order.
    #[test]
    fn equals_olpc_where_both_agree(value in value("[ -~é日\u{10348}\u{FFFD}]{0,12}", "[#-\\[\\]-~é日\u{10348}]{0,6}")) {
        let value = json!({ "a": value });
        prop_assert_eq!(ours(&value), olpc(&value));
    }

    /// Appendices, "Canonical JSON": the form means the same value, is a fixed point, and comes out the same from the text
    /// with other white space and member order as from the value.
    #[test]
    fn form_is_stable_and_means_the_same(value in value("\\PC{0,8}|[\u{0}-\u{1f}\"\\\\/]{0,6}", "\\PC{0,4}|[\u{0}-#\\\\]{0,3}")) {
        let canonical = ours(&value);
        prop_assert_eq!(&serde_json::from_str::<Value>(&canonical).unwrap(), &value);
        prop_assert_eq!(&canonicalise(canonical.as_bytes(), Numbers::Strict).unwrap(), canonical.as_bytes());
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        prop_assert_eq!(&canonicalise(&pretty, Numbers::Strict).unwrap(), canonical.as_bytes());
    }

    /// Appendices, "Canonical JSON", "Grammar": what we take for JSON is what serde_json takes for JSON, up to its limits.
    #[test]
    fn accepts_what_is_json(text in "[\\[\\]{}:, \"\\\\untrefals0-9.eE+-]{0,12}") {
        let expected = serde_json::from_str::<Value>(&text);
        let got = canonicalise(text.as_bytes(), Numbers::Lenient);
        match expected {
            Ok(_) => prop_assert!(got.is_ok(), "{:?} for {}", got, text),
            // A number too large for a double is JSON all the same.
            Err(error) if error.to_string().starts_with("number out of range") => prop_assert!(got.is_ok()),
            Err(_) => prop_assert!(got.is_err(), "{:?} for {}", got, text),
        }
    }

    /// Input never panics, whatever its bytes.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = canonicalise(&bytes, Numbers::Lenient);
    }
}

/// Appendices, "Canonical JSON", "Grammar", against OLPC's: where they differ, and that we are on the specification's side.
// clause: E1.2
#[test]
pub(crate) fn differences_from_olpc() {
    // Control characters: escaped here, raw there (which is not even JSON).
    let line_break = json!({"body": "a\nb\u{1}"});
    assert_eq!(ours(&line_break), r#"{"body":"a\nb\u0001"}"#);
    assert_eq!(olpc(&line_break), "{\"body\":\"a\nb\u{1}\"}");
    // Keys: sorted by what they mean here, by how they are written there, closing quotation mark included.
    let space = json!({"a": 1, "a b": 2, "a!": 3});
    assert_eq!(ours(&space), r#"{"a":1,"a b":2,"a!":3}"#);
    assert_eq!(olpc(&space), r#"{"a b":2,"a!":3,"a":1}"#);
    let quote = json!({"\"": 1, "#": 2});
    assert_eq!(ours(&quote), r##"{"\"":1,"#":2}"##);
    assert_eq!(olpc(&quote), r##"{"#":2,"\"":1}"##);
    let control = json!({"\n": 1, "": 2});
    assert_eq!(ours(&control), r#"{"":2,"\n":1}"#);
    assert_eq!(olpc(&control), "{\"\n\":1,\"\":2}");
}

/// No clause says which of two members of one name counts. We take the last, as the reference implementation's JSON reader
/// and most others do, wherever the object is.
// clause: E1.6
#[test]
pub(crate) fn the_last_of_several_members_counts() {
    let canonical = |json: &str| String::from_utf8(canonicalise(json.as_bytes(), Numbers::Strict).unwrap()).unwrap();
    assert_eq!(canonical(r#"{"a":1,"a":2}"#), r#"{"a":2}"#);
    assert_eq!(canonical(r#"{"a":1,"b":[{"c":1,"\u0063":{"d":2}}],"a":3,"a":2}"#), r#"{"a":2,"b":[{"c":{"d":2}}]}"#);
}

/// Appendices, "Canonical JSON": JSON is nested no deeper than [`MAX_NESTING`], so that reading it needs bounded memory.
// clause: E1.7
#[test]
pub(crate) fn nesting_is_bounded() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    canonicalise(nested(MAX_NESTING).as_bytes(), Numbers::Strict).unwrap();
    for levels in [MAX_NESTING + 1, 130, 1_000_000] {
        assert_eq!(canonicalise(nested(levels).as_bytes(), Numbers::Strict), Err(CanonicalError::TooDeep));
        let objects = format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert_eq!(canonicalise(objects.as_bytes(), Numbers::Lenient), Err(CanonicalError::TooDeep));
    }
    let mut value = json!([]);
    for _ in 1..MAX_NESTING {
        value = json!([value]);
    }
    to_vec(&value, Numbers::Strict).unwrap();
    assert_eq!(to_vec(&json!([value]), Numbers::Strict), Err(CanonicalError::TooDeep));
}

/// RFC 8259, which the appendices' grammar adapts: what is no JSON, and where it stops being it.
// clause: E1.1
#[test]
pub(crate) fn broken_json() {
    for (json, at) in [
        ("", 0),
        ("{", 1),
        ("{\"a\"", 4),
        ("{\"a\":", 5),
        ("{\"a\":1", 6),
        ("{\"a\":1,}", 7),
        ("[1,]", 3),
        ("[1 2]", 3),
        ("{a:1}", 1),
        ("\"a", 2),
        ("\"\\x\"", 2),
        ("\"\\u12g4\"", 5),
        ("\"\\ud800\"", 7),
        ("\"\\ud800\\u0041\"", 13),
        ("\"\\udc00\"", 7),
        ("\"a\nb\"", 2),
        ("01", 1),
        ("-", 1),
        ("1.", 2),
        ("1e", 2),
        (".5", 0),
        ("+1", 0),
        ("NaN", 0),
        ("nul", 0),
        ("1 1", 2),
        ("\u{feff}1", 0),
    ] {
        match canonicalise(json.as_bytes(), Numbers::Lenient) {
            Err(error @ CanonicalError::Syntax { at: found, .. }) => {
                assert_eq!(found, at, "{json}: {error}");
                assert!(error.is_syntax());
            }
            other => panic!("{json}: {other:?}"),
        }
    }
    assert_eq!(canonicalise(b"\"a\xff\"", Numbers::Lenient), Err(CanonicalError::NotUtf8 { at: 2 }));
    // A surrogate in UTF-8 is no UTF-8 either.
    assert_eq!(canonicalise(b"\"\xed\xa0\x80\"", Numbers::Lenient), Err(CanonicalError::NotUtf8 { at: 1 }));
}
