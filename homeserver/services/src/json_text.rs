//! JSON that is kept and passed on as the text it came as.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Checks that every string and number in `text` can be read, so that whoever gets it as it is can read all of it. `IgnoredAny` and
/// `RawValue` pass over a lone surrogate and a number out of range. Builds nothing.
///
/// # Errors
///
/// What is wrong and where.
pub fn check(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<Readable>(text).map(drop)
}

/// Reads a value of any form, with what is in it.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadableVisitor)
    }
}

struct ReadableVisitor;

impl<'de> Visitor<'de> for ReadableVisitor {
    type Value = Readable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_str<E>(self, _: &str) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Readable, A::Error> {
        while let Some(Readable) = items.next_element()? {}
        Ok(Readable)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Readable, A::Error> {
        while let Some((Readable, Readable)) = members.next_entry()? {}
        Ok(Readable)
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use serde_json::Value;

    #[test]
    fn it_takes_what_can_be_read_into_a_value() {
        let texts = [
            r#"{"a":[1,-1,1.5,1e300,-0,123456789012345678901234567890,true,null],"\ud83d\ude00":"\ud83d\ude00\n"}"#,
            r#"{}"#,
            r#""""#,
            r#"{"a":1e999}"#,
            r#"[[-1e400]]"#,
            r#"{"a":{"b":["\ud800"]}}"#,
            r#"{"\udc00":1}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":1}}"#,
            r#"{"a":"#,
        ];
        for text in texts {
            assert_eq!(check(text).is_ok(), serde_json::from_str::<Value>(text).is_ok(), "{text}");
        }
        assert!(check(texts[0]).is_ok());
        assert!(check(texts[5]).is_err());
    }
}
