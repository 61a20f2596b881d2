//! Canonical JSON, compared with serde_json and with itself.

use serde_json::Value;
use state_res::canonical_json::{self, CanonicalError, MAX_NESTING, Numbers, canonicalise, canonicalise_within};

/// Any text: what is accepted, and what it becomes.
pub fn canonical_json(data: &[u8]) {
    let read = serde_json::from_slice::<Value>(data);
    for numbers in [Numbers::Lenient, Numbers::Whole, Numbers::Strict] {
        let canonical = match canonicalise(data, numbers) {
            Ok(canonical) => canonical,
            Err(error) => {
                judge_refusal(data, numbers, &error, read.as_ref().ok());
                continue;
            }
        };
        let text = std::str::from_utf8(&canonical).expect("canonical JSON is UTF-8");
        assert_eq!(
            canonicalise(&canonical, numbers).as_deref(),
            Ok(canonical.as_slice()),
            "it is its own canonical form"
        );
        assert_compact(text);
        let Ok(value) = &read else {
            // Numbers beyond a double are JSON that serde_json does not read. The canonical form keeps their digits, or has lost
            // them with a member that came again.
            assert!(numbers == Numbers::Lenient || has_odd_number(data) || has_long_number(data), "{text}");
            continue;
        };
        let again = serde_json::from_slice::<Value>(&canonical).expect("it is JSON");
        assert!(means_the_same(&again, value), "{again} is not {value}");
        match numbers {
            Numbers::Lenient => {}
            // serde_json makes a float of `-0`, and rounds fractions a little wrong.
            Numbers::Whole | Numbers::Strict if has_odd_number(data) => {}
            Numbers::Whole | Numbers::Strict => {
                assert_eq!(canonical_json::to_vec(value, numbers).as_deref(), Ok(canonical.as_slice()), "{value}");
            }
        }
        if numbers == Numbers::Strict {
            for wider in [Numbers::Whole, Numbers::Lenient] {
                let other = canonicalise(data, wider).expect("what the strict form allows all allow");
                // The lenient form keeps `-0`, and only that.
                assert!(other == canonical || wider == Numbers::Lenient && data.windows(2).any(|two| two == b"-0"));
            }
        }
    }
    if let Ok(shallow) = canonicalise_within(data, Numbers::Lenient, 4) {
        assert_eq!(canonicalise(data, Numbers::Lenient).as_deref(), Ok(shallow.as_slice()));
    }
}

/// Whether there is, perhaps, a number with a fraction, an exponent, or a minus before a zero.
fn has_odd_number(data: &[u8]) -> bool {
    data.windows(2).any(|two| two == b"-0" || two[0].is_ascii_digit() && matches!(two[1], b'.' | b'e' | b'E'))
}

/// Whether there is, perhaps, a number whose digits alone make it greater than any double.
fn has_long_number(data: &[u8]) -> bool {
    data.split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() > 308)
}

/// Whether two values are equal, numbers by what they count; serde_json rounds long ones a little wrong.
pub(super) fn means_the_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let near = |one: f64, other: f64| (one - other).abs() <= one.abs() * 1e-15;
            one == other || one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| near(one, other))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| means_the_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|((name, one), (other_name, other))| name == other_name && means_the_same(one, other))
        }
        (one, other) => one == other,
    }
}

fn judge_refusal(data: &[u8], numbers: Numbers, error: &CanonicalError, read: Option<&Value>) {
    match error {
        CanonicalError::NotUtf8 { at } => {
            let real = std::str::from_utf8(data).expect_err("it is UTF-8").valid_up_to();
            assert_eq!(*at, real);
        }
        CanonicalError::Syntax { at, .. } => {
            assert!(*at <= data.len());
            assert!(read.is_none(), "serde_json reads what is called no JSON: {error}");
        }
        CanonicalError::TooDeep => {
            let opened = data.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
            assert!(opened > MAX_NESTING, "not that deep");
        }
        CanonicalError::NotAnInteger { .. } => assert_ne!(numbers, Numbers::Lenient),
        CanonicalError::OutOfRange { .. } => assert_ne!(numbers, Numbers::Lenient),
        CanonicalError::TooLong { .. } => unreachable!("no such long input is made"),
    }
}

/// No white space outside strings, members in the order of code points, no two of one name.
fn assert_compact(text: &str) {
    let (mut in_string, mut escaped) = (false, false);
    for character in text.chars() {
        if in_string {
            assert!(u32::from(character) >= 0x20, "a raw control character");
            match character {
                _ if escaped => {
                    assert!("\"\\bfnrtu".contains(character), "an escape that is not needed: {character}");
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => {}
            }
        } else {
            assert!(!character.is_whitespace(), "white space");
            in_string = character == '"';
        }
    }
    if let Ok(Value::Object(object)) = serde_json::from_str(text) {
        // serde_json's map is sorted by bytes, which for UTF-8 is the order of code points.
        let mut at = 0;
        for name in object.keys() {
            let quoted = serde_json::to_string(name).expect("strings can be written");
            if !quoted.contains('\\') {
                let found = text[at..].find(&format!("{quoted}:")).expect("in order");
                at += found;
            }
        }
    }
}
