//! JSON kept as the text it came as.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;

/// One JSON value as text: a PDU or a stripped state event, on its way in or out.
///
/// Parsing and writing it again could change numbers (room versions 1 to 5 keep them as they came), so it travels as it is. Cheap to
/// clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawJson(Bytes);

impl RawJson {
    /// Text that is known to be one JSON value, such as a stored canonical PDU. It is not checked: what is passed here is sent as it
    /// is.
    pub fn from_known(json: impl Into<Bytes>) -> Self {
        Self(json.into())
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, shared.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// Whether the value is an object.
    pub fn is_object(&self) -> bool {
        self.0.first() == Some(&b'{')
    }

    /// Reads the value into a type.
    ///
    /// # Errors
    ///
    /// Where the value has another form.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }
}

impl From<Box<RawValue>> for RawJson {
    fn from(raw: Box<RawValue>) -> Self {
        let text: Box<str> = raw.into();
        Self(Bytes::from(text.into_boxed_bytes()))
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self::from)
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// Writes a JSON object member by member, with values that are already text among them.
#[derive(Debug)]
pub struct ObjectWriter {
    text: Vec<u8>,
}

impl Default for ObjectWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ObjectWriter {
    /// An empty object.
    pub fn new() -> Self {
        Self { text: vec![b'{'] }
    }

    /// Adds a member that is already text.
    #[must_use]
    pub fn raw(mut self, key: &str, value: &[u8]) -> Self {
        self.key(key);
        self.text.extend_from_slice(value);
        self
    }

    /// Adds a list of values that are already text.
    #[must_use]
    pub fn list<'a>(mut self, key: &str, values: impl IntoIterator<Item = &'a RawJson>) -> Self {
        self.key(key);
        self.text.push(b'[');
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.text.push(b',');
            }
            self.text.extend_from_slice(value.as_bytes());
        }
        self.text.push(b']');
        self
    }

    /// Adds a member.
    #[must_use]
    pub fn value(mut self, key: &str, value: &(impl serde::Serialize + ?Sized)) -> Self {
        self.key(key);
        serde_json::to_writer(&mut self.text, value).expect("writing to memory fails for no type that is passed here");
        self
    }

    /// Adds a member if there is one.
    #[must_use]
    pub fn maybe(self, key: &str, value: Option<&(impl serde::Serialize + ?Sized)>) -> Self {
        match value {
            Some(value) => self.value(key, value),
            None => self,
        }
    }

    /// The whole object's text.
    pub fn finish(mut self) -> Bytes {
        self.text.push(b'}');
        self.text.into()
    }

    fn key(&mut self, key: &str) {
        if self.text.len() > 1 {
            self.text.push(b',');
        }
        serde_json::to_writer(&mut self.text, key).expect("writing a string to memory does not fail");
        self.text.push(b':');
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn text_survives_unchanged() {
        let pdus: Vec<RawJson> =
            serde_json::from_str(r#"[{"b": 1.0, "a":1e3}, {"depth":123456789012345678901234567890}]"#).unwrap();
        let body = ObjectWriter::new()
            .value("origin", "a \"quoted\" name")
            .list("pdus", &pdus)
            .maybe("x", None::<&str>)
            .finish();
        assert_eq!(
            body,
            r#"{"origin":"a \"quoted\" name","pdus":[{"b": 1.0, "a":1e3},{"depth":123456789012345678901234567890}]}"#
        );
    }
}
