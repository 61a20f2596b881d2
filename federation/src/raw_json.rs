//! JSON kept as the text it came as.

use std::fmt;

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, SeqAccess, Visitor},
};
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

/// The least bytes of a PDU: its id's hash and one signature take more.
const MIN_PDU_BYTES: usize = 100;

/// The least bytes of an event id, but for those that old room versions let servers choose.
const MIN_ID_BYTES: usize = 16;

/// The most servers in a room of which we hear.
const MAX_SERVERS: usize = 100_000;

/// The most items of an answer's list that are too short to be what they should.
const MAX_SHORT: usize = 1_000;

/// Reads a list of PDUs. What is too short to be one is read as well, but not without end: a million empty objects take far more memory than
/// bytes on the wire.
pub(crate) fn pdus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RawJson>, D::Error> {
    deserializer.deserialize_seq(Items { least: MIN_PDU_BYTES, size: |pdu: &RawJson| pdu.0.len(), most: usize::MAX })
}

/// Reads a list of event ids, with the same bound.
pub(crate) fn event_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    deserializer.deserialize_seq(Items { least: MIN_ID_BYTES, size: String::len, most: usize::MAX })
}

/// Whether JSON consists of more values than its length would let one think: more than 10,000 beside one in ten bytes.
pub(crate) fn is_crowded(json: &[u8]) -> bool {
    let most = 10_000 + json.len() / 10;
    let (mut values, mut in_string, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' | b':' if !in_string => values += 1,
            _ => {}
        }
    }
    values > most
}

/// Reads a list of servers' names that may be `null`.
pub(crate) fn servers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    struct Names(#[serde(deserialize_with = "names")] Vec<String>);
    fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        deserializer.deserialize_seq(Items { least: 0, size: String::len, most: MAX_SERVERS })
    }
    Ok(Option::<Names>::deserialize(deserializer)?.map(|names| names.0))
}

/// So many items of a list, which but for [`MAX_SHORT`] have at least so many bytes.
struct Items<T> {
    least: usize,
    size: fn(&T) -> usize,
    most: usize,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        let mut short = 0;
        while let Some(item) = list.next_element::<T>()? {
            short += usize::from((self.size)(&item) < self.least);
            if short > MAX_SHORT {
                let because = format!("more than {MAX_SHORT} items of a list have fewer than {} bytes", self.least);
                return Err(A::Error::custom(because));
            }
            if items.len() >= self.most {
                return Err(A::Error::custom(format!("a list has more than {} items", self.most)));
            }
            items.push(item);
        }
        Ok(items)
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
    fn lists_of_what_is_too_short_come_to_an_end() {
        #[derive(Debug, Deserialize)]
        struct Answer {
            #[serde(deserialize_with = "pdus")]
            pdus: Vec<RawJson>,
            #[serde(deserialize_with = "event_ids")]
            ids: Vec<String>,
            #[serde(default, deserialize_with = "servers")]
            servers: Option<Vec<String>>,
        }
        let list = |item: &str, count: usize| format!("[{}]", vec![item; count].join(","));
        let read = |pdus: &str, ids: &str, servers: &str| {
            serde_json::from_str::<Answer>(&format!(r#"{{"pdus":{pdus},"ids":{ids},"servers":{servers}}}"#))
        };
        let pdu = format!(r#"{{"type":"{}"}}"#, "x".repeat(MIN_PDU_BYTES));
        let answer =
            read(&list(&pdu, 3_000), &list(r#""$an-id-of-an-event""#, 3_000), &list(r#""a.b""#, 3_000)).unwrap();
        assert_eq!((answer.pdus.len(), answer.ids.len(), answer.servers.unwrap().len()), (3_000, 3_000, 3_000));
        assert!(read(&list("{}", MAX_SHORT), "[]", "null").unwrap().servers.is_none());
        let too_many = MAX_SHORT + 1;
        read(&list("{}", too_many), "[]", "null").unwrap_err();
        read("[]", &list(r#""""#, too_many), "null").unwrap_err();
        read("[]", "[]", &list(r#""""#, MAX_SERVERS + 1)).unwrap_err();
    }

    #[test]
    fn values_are_counted_outside_of_strings() {
        assert!(is_crowded(format!("[{}0]", "0,".repeat(20_000)).as_bytes()));
        assert!(!is_crowded(format!("[{}0]", "0,".repeat(5_000)).as_bytes()));
        assert!(!is_crowded(format!(r#"["\"{}"]"#, "0,".repeat(20_000)).as_bytes()));
        let device = r#"{"keys":{"ed25519:ABCDEFGHIJ":"hbpsFO0WeQdU3+sRz2KTiBQrVdOF5wyqrD9mX0PXy8c"}}"#;
        assert!(!is_crowded(format!("[{}0]", format!("{device},").repeat(20_000)).as_bytes()));
    }

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
