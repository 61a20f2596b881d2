//! Events as servers exchange them: persistent data units (PDUs), one format per room version.
//!
//! A [`Pdu`] holds the event's canonical JSON once, with the places of its fields, and gives slices of it. Content and
//! references are read into values when they are first asked for. Specification: "PDUs" of the server-server API, "Event
//! format" of each room version, "Size limits" of the client-server API.

mod error;
mod layout;
mod partial;
mod refused;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use serde_json::{Map, Value};

pub use error::PduError;
pub(crate) use layout::Identity;
use layout::{Layout, Span, encode_id};
pub use partial::PartialPdu;

use crate::{
    canonical_json::{Document, Elements, Members, Numbers, decode_string, is_array},
    hash,
    ids::EventKey,
    redact::{self, Signatures},
    room_version::RoomVersion,
    switches::{Clause, format, on},
};

/// The largest event in bytes of canonical JSON, signatures included (client-server API, "Size limits").
///
/// `unsigned` is not counted: neither hashes nor signatures cover it, so a server on the way could otherwise make a good
/// event invalid.
pub const MAX_PDU_BYTES: usize = 65_536;

/// The longest text in bytes that is read as an event. White space and `\u` escapes can make a text about six times as
/// long as its canonical form, and `unsigned` may come on top.
pub const MAX_PDU_TEXT_BYTES: usize = 8 * MAX_PDU_BYTES;

/// The largest `unsigned` in bytes of canonical JSON.
pub const MAX_UNSIGNED_BYTES: usize = MAX_PDU_BYTES;

/// How many events `prev_events` may list (room versions, "Event format").
pub const MAX_PREV_EVENTS: usize = 20;

/// How many events `auth_events` may list (room versions, "Event format").
pub const MAX_AUTH_EVENTS: usize = 10;

/// An event: well-formed by the rules of its room version, with its identifier. Signatures, hashes and permissions have
/// not been looked at; see [`crate::steps`] for types that say so.
///
/// Immutable; a clone costs one reference count.
#[derive(Clone)]
pub struct Pdu(Arc<Inner>);

struct Inner {
    version: RoomVersion,
    key: EventKey,
    layout: Layout,
    /// The canonical JSON, then what else [`Layout`] points to.
    text: Box<str>,
    content: OnceLock<Map<String, Value>>,
    prev_events: OnceLock<Box<[String]>>,
    auth_events: OnceLock<Box<[String]>>,
}

impl Pdu {
    /// Reads an event from JSON text and computes its identifier (room versions 1 and 2: reads it).
    ///
    /// # Errors
    /// The text is not JSON, not an event of this version's format, or exceeds a limit. [`PduError::errcode`] gives the
    /// specification's error code.
    pub fn parse(version: RoomVersion, json: &[u8]) -> Result<Self, PduError> {
        if json.len() > MAX_PDU_TEXT_BYTES && format(Clause::TextSize) {
            return Err(PduError::TooLarge { bytes: json.len(), max: MAX_PDU_TEXT_BYTES });
        }
        let document = Document::parse(json)?;
        if !document.is_object(Document::ROOT) {
            return Err(PduError::NotAnObject);
        }
        let mut canonical = Vec::with_capacity(json.len() + layout::TAIL_BYTES);
        let apart = if on(Clause::UnsignedApart) { Some("unsigned") } else { None };
        let unsigned = document.write_object(Document::ROOT, apart, numbers_of(version), &mut canonical)?;
        let mut unsigned_json = Vec::new();
        if let Some(node) = unsigned {
            document.write(node, Numbers::Lenient, &mut unsigned_json)?;
        }
        Self::from_canonical(version, canonical, &unsigned_json, Identity::Computed)
    }

    /// An event from a [`Value`]; otherwise as [`Self::parse`]. In room versions 1 to 5 numbers are as serde_json has them,
    /// so a text with fractions or very large integers must go through [`Self::parse`].
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn from_value(version: RoomVersion, event: &Map<String, Value>) -> Result<Self, PduError> {
        let mut json = Vec::with_capacity(1024);
        // Lenient here, so that `unsigned` may hold what it likes; the rest is judged by `parse`.
        crate::canonical_json::write_object(event, Numbers::Lenient, &mut json)?;
        Self::parse(version, &json)
    }

    /// An event that an earlier [`Self::parse`] or build made, from its [`Self::canonical`] form and its identifier. The
    /// identifier is believed, which saves computing the hash; format and limits are looked at again.
    ///
    /// # Errors
    /// The text is not what `canonical` gave.
    pub fn from_stored(version: RoomVersion, event_id: &str, canonical: Vec<u8>) -> Result<Self, PduError> {
        Self::from_canonical(version, canonical, &[], Identity::Known(event_id))
    }

    /// From canonical JSON without `unsigned`, as this crate wrote it.
    pub(crate) fn from_canonical(
        version: RoomVersion,
        canonical: Vec<u8>,
        unsigned: &[u8],
        identity: Identity<'_>,
    ) -> Result<Self, PduError> {
        let (layout, text) = Layout::read(version, canonical, unsigned, identity)?;
        let key = EventKey::of(layout.event_id.of(&text));
        Ok(Self(Arc::new(Inner {
            version,
            key,
            layout,
            text,
            content: OnceLock::new(),
            prev_events: OnceLock::new(),
            auth_events: OnceLock::new(),
        })))
    }

    /// The room version by whose rules the event was read.
    #[must_use]
    pub fn version(&self) -> RoomVersion {
        self.0.version
    }

    /// The event id.
    #[must_use]
    pub fn event_id(&self) -> &str {
        self.slice(self.0.layout.event_id)
    }

    /// The key of the event id.
    #[must_use]
    pub fn key(&self) -> EventKey {
        self.0.key
    }

    /// The room the event is in. A create event of room version 12 has no `room_id`; there it is the event id with `!`.
    #[must_use]
    pub fn room_id(&self) -> &str {
        self.slice(self.0.layout.room_id)
    }

    /// Whether the event carries a `room_id` itself. A create event of room version 12 must not (rule 1.2).
    #[must_use]
    pub fn has_room_id(&self) -> bool {
        self.0.layout.has_room_id
    }

    /// The user who sent the event.
    #[must_use]
    pub fn sender(&self) -> &str {
        self.slice(self.0.layout.sender)
    }

    /// The server name in the sender's user id.
    #[must_use]
    pub fn sender_server(&self) -> &str {
        crate::ids::server_of(self.sender()).unwrap_or_default()
    }

    /// The event type.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.slice(self.0.layout.event_type)
    }

    /// The state key; `None` if the event is no state event.
    #[must_use]
    pub fn state_key(&self) -> Option<&str> {
        self.optional(self.0.layout.state_key)
    }

    /// Whether the event is a state event.
    #[must_use]
    pub fn is_state(&self) -> bool {
        self.0.layout.state_key.is_some()
    }

    /// Whether the event is a state event of this type with this state key.
    #[must_use]
    pub fn is_state_of(&self, event_type: &str, state_key: &str) -> bool {
        self.state_key() == Some(state_key) && self.event_type() == event_type
    }

    /// The content. Numbers beyond the range of a double, which room versions 1 to 5 allow, appear as the nearest double.
    #[must_use]
    pub fn content(&self) -> &Map<String, Value> {
        self.0.content.get_or_init(|| {
            Document::parse(self.content_json()).map(|content| content.object(Document::ROOT)).unwrap_or_default()
        })
    }

    /// The content as canonical JSON.
    #[must_use]
    pub fn content_json(&self) -> &[u8] {
        self.slice(self.0.layout.content).as_bytes()
    }

    /// The events before this one.
    #[must_use]
    pub fn prev_events(&self) -> &[String] {
        self.0.prev_events.get_or_init(|| references(self.slice(self.0.layout.prev_events)))
    }

    /// The events that allow this one, as sent. In room version 12 the create event is not among them: the room id stands
    /// for it.
    #[must_use]
    pub fn auth_events(&self) -> &[String] {
        self.0.auth_events.get_or_init(|| references(self.slice(self.0.layout.auth_events)))
    }

    /// The length of the longest path to the create event, as the sender has it.
    #[must_use]
    pub fn depth(&self) -> i64 {
        self.0.layout.depth
    }

    /// When the sender's server made the event, in milliseconds since the Unix epoch by its clock.
    #[must_use]
    pub fn origin_server_ts(&self) -> i64 {
        self.0.layout.origin_server_ts
    }

    /// The event that this `m.room.redaction` redacts: from the content in room version 11 and later, from the top level
    /// before. `None` for other events and where it is missing.
    #[must_use]
    pub fn redacts(&self) -> Option<&str> {
        self.optional(self.0.layout.redacts)
    }

    /// `hashes.sha256` as sent: the content hash in Base64, if the sender was right.
    #[must_use]
    pub fn sent_content_hash(&self) -> &str {
        self.slice(self.0.layout.sha256)
    }

    /// `unsigned` as it came, read anew each time; `None` if there was none. Nothing vouches for it.
    #[must_use]
    pub fn unsigned(&self) -> Option<Map<String, Value>> {
        let json = self.unsigned_json()?;
        Document::parse(json).ok().map(|unsigned| unsigned.object(Document::ROOT))
    }

    /// `unsigned` as canonical JSON (its numbers as they came).
    #[must_use]
    pub fn unsigned_json(&self) -> Option<&[u8]> {
        self.optional(self.0.layout.unsigned).map(str::as_bytes)
    }

    /// The event as canonical JSON, with hashes and signatures and without `unsigned`: what is stored and sent to servers.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        self.canonical_str().as_bytes()
    }

    /// As [`Self::canonical`], as text.
    #[must_use]
    pub fn canonical_str(&self) -> &str {
        &self.0.text[..self.0.layout.canonical_len as usize]
    }

    /// The whole event as a JSON object, without `unsigned`, read anew each time.
    #[must_use]
    pub fn to_object(&self) -> Map<String, Value> {
        Document::parse(self.canonical()).map(|event| event.object(Document::ROOT)).unwrap_or_default()
    }

    /// The signatures: server name, key id and the signature in Base64, as sent.
    pub fn signatures(&self) -> impl Iterator<Item = (String, String, String)> + '_ {
        let servers = Members::of(self.signatures_json());
        servers.flat_map(|server| {
            let name = decode_name(server.name);
            Members::of(server.value)
                .map(move |signature| (name.clone(), decode_name(signature.name), decode_value(signature.value)))
        })
    }

    /// `signatures` as canonical JSON.
    pub(crate) fn signatures_json(&self) -> &[u8] {
        self.slice(self.0.layout.signatures).as_bytes()
    }

    /// The canonical JSON before and after the value of `signatures`.
    pub(crate) fn around_signatures(&self) -> (&[u8], &[u8]) {
        let value = self.0.layout.signatures.range();
        (&self.canonical()[..value.start], &self.canonical()[value.end..])
    }

    /// The SHA-256 of the event as the specification's content hash has it; compare [`Self::sent_content_hash`].
    #[must_use]
    pub fn content_hash(&self) -> [u8; 32] {
        hash::content_hash_of_canonical(self.canonical())
    }

    /// The SHA-256 of the redacted event without signatures: the specification's reference hash.
    #[must_use]
    pub fn reference_hash(&self) -> [u8; 32] {
        if on(Clause::ReferenceHash) { hash::sha256(&self.signed_bytes()) } else { hash::sha256(self.canonical()) }
    }

    /// The event with everything removed that redaction removes. It has the same event id, and no `unsigned`.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let mut canonical = Vec::with_capacity(self.canonical().len());
        let rules = &self.version().rules().redaction;
        redact::redact_canonical(rules, self.canonical(), self.event_type(), Signatures::Keep, &mut canonical);
        match Self::from_canonical(self.version(), canonical, &[], Identity::Known(self.event_id())) {
            Ok(redacted) => redacted,
            // Redaction keeps every field that the format asks for, so there is nothing here that can fail.
            Err(_) => self.clone(),
        }
    }

    /// What servers sign: the redacted event without signatures, as canonical JSON.
    pub(crate) fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.canonical().len());
        let rules = &self.version().rules().redaction;
        redact::redact_canonical(rules, self.canonical(), self.event_type(), Signatures::Drop, &mut bytes);
        bytes
    }

    /// About how many bytes of memory the event takes, for caches. Does not count what [`Self::content`] read.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let references = |list: &OnceLock<Box<[String]>>| {
            list.get().map_or(0, |ids| ids.iter().map(|id| id.capacity() + size_of::<String>()).sum())
        };
        let lists = references(&self.0.prev_events) + references(&self.0.auth_events);
        size_of::<Inner>() + 2 * size_of::<usize>() + self.0.text.len() + lists
    }

    /// Fills in the content that the caller has at hand already.
    pub(crate) fn with_content(self, content: Map<String, Value>) -> Self {
        // Numbers that the canonical form spells otherwise (`1.0`) would make this differ from what a reader gets, so only
        // content that went through the strict writer comes here.
        let _ = self.0.content.set(content);
        self
    }

    fn slice(&self, span: Span) -> &str {
        span.of(&self.0.text)
    }

    fn optional(&self, span: Span) -> Option<&str> {
        span.is_some().then(|| span.of(&self.0.text))
    }
}

impl PartialEq for Pdu {
    fn eq(&self, other: &Self) -> bool {
        self.version() == other.version()
            && self.event_id() == other.event_id()
            && self.canonical() == other.canonical()
    }
}

impl Eq for Pdu {}

impl fmt::Debug for Pdu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pdu")
            .field("version", &self.version())
            .field("event_id", &self.event_id())
            .field("event", &self.canonical_str())
            .finish_non_exhaustive()
    }
}

/// How numbers in events of this version are treated.
#[must_use]
pub(crate) fn numbers_of(version: RoomVersion) -> Numbers {
    let strict =
        if version.rules().strict_canonical_json { on(Clause::StrictNumbers) } else { !on(Clause::LenientNumbers) };
    if strict { Numbers::Strict } else { Numbers::Lenient }
}

/// The event ids in a list of references: plain strings, or pairs whose first element is one.
fn references(list: &str) -> Box<[String]> {
    Elements::of(list.as_bytes())
        .map(|element| {
            let id = if is_array(element) { Elements::of(element).next().unwrap_or_default() } else { element };
            decode_value(id)
        })
        .collect()
}

/// A string from its canonical text with quotes.
fn decode_value(quoted: &[u8]) -> String {
    decode_string(std::str::from_utf8(quoted).unwrap_or_default()).into_owned()
}

/// A member's name from its canonical text without quotes.
fn decode_name(name: &[u8]) -> String {
    if name.contains(&b'\\') {
        decode_value(&[b"\"", name, b"\""].concat())
    } else {
        String::from_utf8_lossy(name).into_owned()
    }
}
