//! Answers that take many times the memory of what came over the wire, because they are made of many tiny things.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

use crate::{
    RawJson,
    limits::{BYTES_PER_VALUE, MAX_CROWDED_VALUES, MAX_SERVERS_IN_ROOM, MAX_SHORT_ITEMS, MIN_ID_BYTES, MIN_PDU_BYTES},
};

/// Reads a list of PDUs. What is too short to be one is read as well, but not without end: a million empty objects take far more memory than
/// bytes on the wire.
pub(crate) fn pdus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RawJson>, D::Error> {
    deserializer.deserialize_seq(Items {
        least: MIN_PDU_BYTES,
        size: |pdu: &RawJson| pdu.as_bytes().len(),
        most: usize::MAX,
    })
}

/// Reads a list of event ids, with the same bound.
pub(crate) fn event_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    deserializer.deserialize_seq(Items { least: MIN_ID_BYTES, size: String::len, most: usize::MAX })
}

/// Whether JSON consists of more values than its length would let one think.
pub(crate) fn is_crowded(json: &[u8]) -> bool {
    let most = MAX_CROWDED_VALUES + json.len() / BYTES_PER_VALUE;
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
        deserializer.deserialize_seq(Items { least: 0, size: String::len, most: MAX_SERVERS_IN_ROOM })
    }
    Ok(Option::<Names>::deserialize(deserializer)?.map(|names| names.0))
}

/// So many items of a list, which but for [`MAX_SHORT_ITEMS`] have at least so many bytes.
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
            if short > MAX_SHORT_ITEMS {
                let because =
                    format!("more than {MAX_SHORT_ITEMS} items of a list have fewer than {} bytes", self.least);
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
        assert!(read(&list("{}", MAX_SHORT_ITEMS), "[]", "null").unwrap().servers.is_none());
        let too_many = MAX_SHORT_ITEMS + 1;
        read(&list("{}", too_many), "[]", "null").unwrap_err();
        read("[]", &list(r#""""#, too_many), "null").unwrap_err();
        read("[]", "[]", &list(r#""""#, MAX_SERVERS_IN_ROOM + 1)).unwrap_err();
    }

    #[test]
    fn values_are_counted_outside_of_strings() {
        assert!(is_crowded(format!("[{}0]", "0,".repeat(20_000)).as_bytes()));
        assert!(!is_crowded(format!("[{}0]", "0,".repeat(5_000)).as_bytes()));
        assert!(!is_crowded(format!(r#"["\"{}"]"#, "0,".repeat(20_000)).as_bytes()));
        let device = r#"{"keys":{"ed25519:ABCDEFGHIJ":"hbpsFO0WeQdU3+sRz2KTiBQrVdOF5wyqrD9mX0PXy8c"}}"#;
        assert!(!is_crowded(format!("[{}0]", format!("{device},").repeat(20_000)).as_bytes()));
    }
}
