//! The stored form of an event: its canonical bytes once, with an offset table from which what clients get is cut.

use crate::error::{Error, Result};
use bytes::Bytes;
use state_res::canonical_json;
use state_res::ids::{EventKey, RoomKey};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use std::io::Write as _;

/// Version of the layout below.
const FORMAT: u8 = 1;
/// Set beside the format where the bytes are the redacted form.
const REDACTED: u8 = 0x80;
const HEADER: usize = 2 + 16 + 2;
/// Members of a PDU that clients see, in the order of the offset table.
const MEMBERS: [&str; 7] = ["content", "origin_server_ts", "redacts", "room_id", "sender", "state_key", "type"];

/// Index of a member in the offset table.
#[derive(Debug, Clone, Copy)]
enum Member {
    Content = 0,
    OriginServerTs = 1,
    Redacts = 2,
    Sender = 4,
    StateKey = 5,
    Type = 6,
}

/// A stored event: layout `format, room version, room (16), event id length (2), event id, 7 × (start 4, length 4), canonical
/// PDU`. Members are slices of the canonical bytes, so serving one costs a copy and no parsing.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    key: EventKey,
    bytes: Bytes,
    id_length: usize,
}

impl StoredEvent {
    /// Encodes `pdu`, which belongs to `room`.
    #[must_use]
    pub fn encode(room: RoomKey, pdu: &Pdu) -> Self {
        let canonical = pdu.canonical();
        let id = pdu.event_id().as_bytes();
        let mut out = Vec::with_capacity(HEADER + id.len() + 56 + canonical.len());
        out.push(FORMAT);
        out.push(pdu.version().number());
        out.extend_from_slice(room.as_bytes());
        // An event id is at most 255 bytes (checked when the event was parsed).
        out.extend_from_slice(&(id.len() as u16).to_be_bytes());
        out.extend_from_slice(id);
        let mut offsets = [(0_u32, 0_u32); 7];
        for_each_member(canonical, |name, start, end| {
            if let Some(index) = MEMBERS.iter().position(|member| member.as_bytes() == name) {
                offsets[index] = (start as u32, (end - start) as u32);
            }
        });
        for (start, length) in offsets {
            out.extend_from_slice(&start.to_be_bytes());
            out.extend_from_slice(&length.to_be_bytes());
        }
        out.extend_from_slice(canonical);
        Self { key: pdu.key(), id_length: id.len(), bytes: Bytes::from(out) }
    }

    /// Reads a row of table `PDUS`; `None` if the bytes are not of a layout we know.
    #[must_use]
    pub fn decode(key: EventKey, bytes: Bytes) -> Option<Self> {
        if bytes.len() < HEADER || bytes[0] & !REDACTED != FORMAT {
            return None;
        }
        let id_length = usize::from(u16::from_be_bytes([bytes[18], bytes[19]]));
        (bytes.len() >= HEADER + id_length + 56).then_some(Self { key, bytes, id_length })
    }

    /// The same row, marked as the redacted form.
    #[must_use]
    pub fn marked_redacted(mut self) -> Self {
        let mut bytes = self.bytes.to_vec();
        bytes[0] |= REDACTED;
        self.bytes = Bytes::from(bytes);
        self
    }

    /// Whether the bytes are the redacted form.
    #[must_use]
    pub fn is_redacted(&self) -> bool {
        self.bytes[0] & REDACTED != 0
    }

    /// The row's bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The event's key.
    #[must_use]
    pub fn key(&self) -> EventKey {
        self.key
    }

    /// The room it belongs to.
    #[must_use]
    pub fn room(&self) -> RoomKey {
        let mut room = [0; 16];
        room.copy_from_slice(&self.bytes[2..18]);
        RoomKey::from_bytes(room)
    }

    /// The room version it was made for.
    #[must_use]
    pub fn version(&self) -> Option<RoomVersion> {
        RoomVersion::from_number(self.bytes[1])
    }

    /// The event id.
    #[must_use]
    pub fn event_id(&self) -> &str {
        std::str::from_utf8(&self.bytes[HEADER..HEADER + self.id_length]).unwrap_or_default()
    }

    /// The PDU's canonical JSON, as peers get it.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.bytes[HEADER + self.id_length + 56..]
    }

    /// The same, sharing the row's memory.
    #[must_use]
    pub fn canonical_bytes(&self) -> Bytes {
        self.bytes.slice(HEADER + self.id_length + 56..)
    }

    /// A member's JSON text.
    fn member(&self, member: Member) -> Option<&str> {
        std::str::from_utf8(self.member_bytes(member)?).ok()
    }

    /// The same, not looked at.
    fn member_bytes(&self, member: Member) -> Option<&[u8]> {
        let at = HEADER + self.id_length + 8 * member as usize;
        let word = |at: usize| {
            u32::from_be_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]]) as usize
        };
        let (start, length) = (word(at), word(at + 4));
        if length == 0 {
            return None;
        }
        self.canonical().get(start..start + length)
    }

    /// The `content` as JSON text.
    #[must_use]
    pub fn content_json(&self) -> &str {
        self.member(Member::Content).unwrap_or("{}")
    }

    /// The `type`.
    #[must_use]
    pub fn event_type(&self) -> String {
        self.member(Member::Type).map(unquote).unwrap_or_default()
    }

    /// Whether the `type` is `wanted`, without allocating.
    #[must_use]
    pub fn is_type(&self, wanted: &str) -> bool {
        let Some(text) = self.member_bytes(Member::Type) else { return false };
        text.len() == wanted.len() + 2 && &text[1..text.len() - 1] == wanted.as_bytes()
    }

    /// The `sender`.
    #[must_use]
    pub fn sender(&self) -> String {
        self.member(Member::Sender).map(unquote).unwrap_or_default()
    }

    /// The `state_key`, if this is a state event.
    #[must_use]
    pub fn state_key(&self) -> Option<String> {
        self.member(Member::StateKey).map(unquote)
    }

    /// Whether this is a state event.
    #[must_use]
    pub fn is_state(&self) -> bool {
        self.member_bytes(Member::StateKey).is_some()
    }

    /// `origin_server_ts` in milliseconds; 0 if it is no number.
    #[must_use]
    pub fn origin_server_ts(&self) -> i64 {
        self.member(Member::OriginServerTs).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The event id that a redaction names at its top level (room versions before 11).
    #[must_use]
    pub fn redacts(&self) -> Option<String> {
        self.member(Member::Redacts).map(unquote)
    }

    /// The id of the event that this one redacts, wherever its room version has it; `None` for other events.
    #[must_use]
    pub fn redaction_target(&self) -> Option<String> {
        if !self.is_type("m.room.redaction") {
            return None;
        }
        self.redacts().or_else(|| self.content().get("redacts")?.as_str().map(str::to_owned))
    }

    /// The `content` parsed.
    #[must_use]
    pub fn content(&self) -> serde_json::Map<String, serde_json::Value> {
        read_object(self.content_json()).unwrap_or_default()
    }

    /// Writes the event as clients see it ("ClientEvent"; without `room_id` in `/sync`): slices of the PDU, the event id, and
    /// `unsigned` (JSON text of an object) where there is one.
    pub fn write_client_event(&self, out: &mut Vec<u8>, room_id: Option<&str>, unsigned: Option<&str>) {
        self.write_common(out);
        if let Some(room_id) = room_id {
            out.extend_from_slice(b",\"room_id\":");
            write_json_string(out, room_id);
        }
        if let Some(unsigned) = unsigned {
            out.extend_from_slice(b",\"unsigned\":");
            out.extend_from_slice(unsigned.as_bytes());
        }
        out.push(b'}');
    }

    /// The same but for `room_id`, `unsigned` and the closing brace.
    pub(super) fn write_common(&self, out: &mut Vec<u8>) {
        // Clients of either age find the target of a redaction: at the top level and in `content` (room version 11,
        // "Moving the `redacts` property of `m.room.redaction` events to a `content` property").
        let redacts = self.redaction_target();
        out.extend_from_slice(b"{\"content\":");
        match &redacts {
            Some(target) if self.redacts().is_some() => {
                let mut content = self.content();
                content.insert("redacts".to_owned(), target.as_str().into());
                out.extend_from_slice(serde_json::Value::Object(content).to_string().as_bytes());
            }
            _ => out.extend_from_slice(self.member_bytes(Member::Content).unwrap_or(b"{}")),
        }
        out.extend_from_slice(b",\"event_id\":");
        write_json_string(out, self.event_id());
        if let Some(ts) = self.member_bytes(Member::OriginServerTs) {
            out.extend_from_slice(b",\"origin_server_ts\":");
            out.extend_from_slice(ts);
        }
        if let Some(target) = &redacts {
            out.extend_from_slice(b",\"redacts\":");
            write_json_string(out, target);
        }
        for (name, member) in [("sender", Member::Sender), ("state_key", Member::StateKey), ("type", Member::Type)] {
            if let Some(text) = self.member_bytes(member) {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                out.extend_from_slice(text);
            }
        }
    }

    /// The client form as text.
    #[must_use]
    pub fn client_event(&self, room_id: Option<&str>, unsigned: Option<&str>) -> String {
        let mut out = Vec::with_capacity(self.canonical().len() + 128);
        self.write_client_event(&mut out, room_id, unsigned);
        // Slices at member boundaries of UTF-8 text, joined with UTF-8 text.
        String::from_utf8(out).unwrap_or_default()
    }

    /// The stripped form (`content`, `sender`, `state_key`, `type`) of invites and knocks.
    #[must_use]
    pub fn stripped(&self) -> serde_json::Value {
        serde_json::json!({
            "content": self.content(),
            "sender": self.sender(),
            "state_key": self.state_key().unwrap_or_default(),
            "type": self.event_type(),
        })
    }
}

/// Appends `text` as a JSON string.
pub fn write_json_string(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else if let Ok(quoted) = serde_json::to_vec(text) {
        out.extend_from_slice(&quoted);
    }
}

/// Reads an object of an event, whose numbers may be such as no double can hold (room versions 1 to 5): these appear as the nearest.
///
/// # Errors
/// It is no JSON object.
pub fn read_object(json: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_str(json)
        .or_else(|_| canonical_json::read_object(json.as_bytes()))
        .map_err(|error| Error::internal(format!("a stored event is no JSON object: {error}")))
}

/// Appends a number.
pub fn write_integer(out: &mut Vec<u8>, number: i64) {
    let _ = write!(out, "{number}");
}

fn unquote(json: &str) -> String {
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if !inner.contains('\\') => inner.to_owned(),
        _ => serde_json::from_str(json).unwrap_or_default(),
    }
}

/// Calls `found(name, start, end)` with each top-level member of an object in canonical JSON (no white space).
fn for_each_member(json: &[u8], mut found: impl FnMut(&[u8], usize, usize)) {
    let mut at = 1;
    while at < json.len() && json[at] == b'"' {
        let name_end = string_end(json, at);
        let start = name_end + 1;
        let end = value_end(json, start);
        found(&json[at + 1..name_end.saturating_sub(1).max(at + 1)], start, end);
        at = end + 1;
    }
}

/// The index after the closing quote of the string that opens at `at`.
fn string_end(json: &[u8], at: usize) -> usize {
    let mut index = at + 1;
    while index < json.len() {
        match json[index] {
            b'\\' => index += 2,
            b'"' => return index + 1,
            _ => index += 1,
        }
    }
    json.len()
}

/// The index after the value that starts at `at`.
fn value_end(json: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut index = at;
    while index < json.len() {
        match json[index] {
            b'"' => {
                index = string_end(json, index);
                if depth == 0 {
                    return index;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                if depth == 0 {
                    return index;
                }
                depth -= 1;
                if depth == 0 {
                    return index + 1;
                }
            }
            b',' if depth == 0 => return index,
            _ => {}
        }
        index += 1;
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_around_quotes_and_nesting() {
        let json = br#"{"a\"b":[1,{"x":"}"}],"content":{"k":"\\\"{"},"n":-5,"s":"x,y"}"#;
        let mut seen = Vec::new();
        for_each_member(json, |name, start, end| {
            seen.push((
                String::from_utf8_lossy(name).into_owned(),
                String::from_utf8_lossy(&json[start..end]).into_owned(),
            ));
        });
        let expected =
            [("a\\\"b", r#"[1,{"x":"}"}]"#), ("content", r#"{"k":"\\\"{"}"#), ("n", "-5"), ("s", r#""x,y""#)];
        assert_eq!(seen, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
