//! Where an event's fields are in its text, and the checks of its format.

use base64::Engine as _;

use super::{MAX_AUTH_EVENTS, MAX_PDU_BYTES, MAX_PREV_EVENTS, MAX_UNSIGNED_BYTES, PduError};
use crate::{
    canonical_json::{Elements, Members, decode_string, is_array, is_object, is_string},
    hash,
    ids::{self, MAX_ID_BYTES},
    redact::{self, Signatures},
    room_version::{EventIdFormat, RoomVersion, Rules},
    switches::{Clause, format, on},
};

/// Room for what usually follows the canonical JSON: an event id.
pub(super) const TAIL_BYTES: usize = 64;

/// The length of an identifier made of a hash: a sigil and 32 bytes in unpadded Base64.
const HASH_ID_BYTES: usize = 44;

/// A part of a text.
#[derive(Clone, Copy)]
pub(super) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    const NONE: Self = Self { start: u32::MAX, len: 0 };

    pub(super) const fn is_some(self) -> bool {
        self.start != u32::MAX
    }

    pub(super) const fn range(self) -> std::ops::Range<usize> {
        let start = self.start as usize;
        start..start + self.len as usize
    }

    pub(super) fn of(self, text: &str) -> &str {
        if self.is_some() { text.get(self.range()).unwrap_or_default() } else { "" }
    }
}

/// Where the event id comes from.
pub(crate) enum Identity<'a> {
    /// From the event, by hashing where the version says so.
    Computed,
    /// From the reference hash, which is known.
    Hash([u8; 32]),
    /// It is known.
    Known(&'a str),
}

/// Where an event's fields are in its text.
pub(super) struct Layout {
    pub(super) canonical_len: u32,
    pub(super) has_room_id: bool,
    pub(super) event_id: Span,
    pub(super) room_id: Span,
    pub(super) sender: Span,
    pub(super) event_type: Span,
    pub(super) state_key: Span,
    pub(super) content: Span,
    pub(super) prev_events: Span,
    pub(super) auth_events: Span,
    pub(super) redacts: Span,
    pub(super) sha256: Span,
    pub(super) signatures: Span,
    pub(super) unsigned: Span,
    pub(super) depth: i64,
    pub(super) origin_server_ts: i64,
}

/// The ranges of the top-level values that matter here.
#[derive(Default)]
struct Fields {
    auth_events: Option<(usize, usize)>,
    content: Option<(usize, usize)>,
    depth: Option<(usize, usize)>,
    event_id: Option<(usize, usize)>,
    hashes: Option<(usize, usize)>,
    origin_server_ts: Option<(usize, usize)>,
    prev_events: Option<(usize, usize)>,
    redacts: Option<(usize, usize)>,
    room_id: Option<(usize, usize)>,
    sender: Option<(usize, usize)>,
    signatures: Option<(usize, usize)>,
    state_key: Option<(usize, usize)>,
    event_type: Option<(usize, usize)>,
}

impl Fields {
    fn of(canonical: &[u8]) -> Self {
        let mut fields = Self::default();
        for member in Members::of(canonical) {
            let field = match member.name {
                b"auth_events" => &mut fields.auth_events,
                b"content" => &mut fields.content,
                b"depth" => &mut fields.depth,
                b"event_id" => &mut fields.event_id,
                b"hashes" => &mut fields.hashes,
                b"origin_server_ts" => &mut fields.origin_server_ts,
                b"prev_events" => &mut fields.prev_events,
                b"redacts" => &mut fields.redacts,
                b"room_id" => &mut fields.room_id,
                b"sender" => &mut fields.sender,
                b"signatures" => &mut fields.signatures,
                b"state_key" => &mut fields.state_key,
                b"type" => &mut fields.event_type,
                _ => continue,
            };
            *field = Some((member.value_start, member.end));
        }
        fields
    }
}

impl Layout {
    /// Checks an event's format and finds its fields. Returns the text that the spans point into: the canonical JSON and
    /// what had to be added to it.
    pub(super) fn read(
        version: RoomVersion,
        canonical: Vec<u8>,
        unsigned: &[u8],
        identity: Identity<'_>,
    ) -> Result<(Self, Box<str>), PduError> {
        let rules = version.rules();
        if canonical.len() > MAX_PDU_BYTES && format(Clause::EventSize) {
            return Err(PduError::TooLarge { bytes: canonical.len(), max: MAX_PDU_BYTES });
        }
        if unsigned.len() > MAX_UNSIGNED_BYTES && format(Clause::TextSize) {
            return Err(PduError::FieldTooLong { field: "unsigned", bytes: unsigned.len(), max: MAX_UNSIGNED_BYTES });
        }
        if !unsigned.is_empty() && !is_object(unsigned) {
            return Err(PduError::WrongType { field: "unsigned", expected: "an object" });
        }
        let canonical_len = canonical.len() as u32;
        let fields = Fields::of(&canonical);
        let mut text = Text(String::from_utf8(canonical).map_err(|error| {
            crate::canonical_json::CanonicalError::NotUtf8 { at: error.utf8_error().valid_up_to() }
        })?);

        let event_type = text.string("type", required("type", fields.event_type)?)?;
        text.limit("type", event_type)?;
        let sender = text.string("sender", required("sender", fields.sender)?)?;
        text.limit("sender", sender)?;
        if !ids::is_valid_user_id(sender.of(&text.0)) && format(Clause::SenderGrammar) {
            return Err(PduError::NotAnId { field: "sender", expected: "a user id" });
        }
        let state_key = match fields.state_key {
            Some(range) => text.string("state_key", range)?,
            None => Span::NONE,
        };
        text.limit("state_key", state_key)?;
        let content = text.object("content", required("content", fields.content)?)?;
        let signatures = text.object("signatures", required("signatures", fields.signatures)?)?;
        check_signatures(signatures.of(&text.0))?;
        let hashes = text.object("hashes", required("hashes", fields.hashes)?)?;
        let sha256 = text.member(hashes, "sha256").ok_or(PduError::Missing { field: "hashes.sha256" })?;
        let sha256 = text.string("hashes.sha256", sha256)?;
        let prev_events = required("prev_events", fields.prev_events)?;
        let prev_events = text.references(rules, "prev_events", prev_events, MAX_PREV_EVENTS)?;
        let auth_events = required("auth_events", fields.auth_events)?;
        let auth_events = text.references(rules, "auth_events", auth_events, MAX_AUTH_EVENTS)?;
        let depth = text.integer("depth", required("depth", fields.depth)?)?;
        let origin_server_ts =
            text.integer("origin_server_ts", required("origin_server_ts", fields.origin_server_ts)?)?;

        let redacts = text.redacts(rules, event_type, content, fields.redacts)?;
        let event_id = text.event_id(rules, canonical_len, event_type, fields.event_id, identity)?;
        let room_id = text.room_id(rules, event_type, event_id, fields.room_id)?;
        let unsigned = if unsigned.is_empty() {
            Span::NONE
        } else {
            text.append(std::str::from_utf8(unsigned).unwrap_or_default())
        };

        let layout = Self {
            canonical_len,
            has_room_id: fields.room_id.is_some(),
            event_id,
            room_id,
            sender,
            event_type,
            state_key,
            content,
            prev_events,
            auth_events,
            redacts,
            sha256,
            signatures,
            unsigned,
            depth,
            origin_server_ts,
        };
        Ok((layout, text.0.into_boxed_str()))
    }
}

/// The canonical JSON and what is appended to it.
struct Text(String);

impl Text {
    fn append(&mut self, more: &str) -> Span {
        let start = self.0.len() as u32;
        self.0.push_str(more);
        Span { start, len: more.len() as u32 }
    }

    fn slice(&self, (start, end): (usize, usize)) -> &str {
        self.0.get(start..end).unwrap_or_default()
    }

    /// The contents of a string; appended if its text has escapes.
    fn string(&mut self, field: &'static str, range: (usize, usize)) -> Result<Span, PduError> {
        let quoted = self.slice(range);
        if !is_string(quoted.as_bytes()) {
            return Err(PduError::WrongType { field, expected: "a string" });
        }
        if quoted.contains('\\') {
            let decoded = decode_string(quoted).into_owned();
            return Ok(self.append(&decoded));
        }
        Ok(Span { start: range.0 as u32 + 1, len: (range.1 - range.0 - 2) as u32 })
    }

    fn object(&self, field: &'static str, range: (usize, usize)) -> Result<Span, PduError> {
        if !is_object(self.slice(range).as_bytes()) {
            return Err(PduError::WrongType { field, expected: "an object" });
        }
        Ok(Span { start: range.0 as u32, len: (range.1 - range.0) as u32 })
    }

    fn integer(&self, field: &'static str, range: (usize, usize)) -> Result<i64, PduError> {
        // Within the range of the canonical form, or, where that is not enforced, of 64 bits.
        let text = self.slice(range);
        if !format(Clause::IntegerFields)
            && let Ok(number) = text.parse::<f64>()
        {
            return Ok(number as i64);
        }
        text.parse().map_err(|_| PduError::WrongType { field, expected: "an integer" })
    }

    /// The range of a member's value within an object.
    fn member(&self, object: Span, name: &str) -> Option<(usize, usize)> {
        let start = object.start as usize;
        Members::of(object.of(&self.0).as_bytes())
            .find(|member| member.name == name.as_bytes())
            .map(|member| (start + member.value_start, start + member.end))
    }

    fn limit(&self, field: &'static str, span: Span) -> Result<(), PduError> {
        let bytes = span.len as usize;
        if bytes > MAX_ID_BYTES && format(Clause::FieldSize) {
            return Err(PduError::FieldTooLong { field, bytes, max: MAX_ID_BYTES });
        }
        Ok(())
    }

    fn references(
        &self,
        rules: &Rules,
        field: &'static str,
        range: (usize, usize),
        max: usize,
    ) -> Result<Span, PduError> {
        let list = self.slice(range).as_bytes();
        if !is_array(list) {
            return Err(PduError::WrongType { field, expected: "an array" });
        }
        let mut count = 0;
        for element in Elements::of(list) {
            count += 1;
            if count > max && format(Clause::ReferenceLimits) {
                return Err(PduError::TooManyReferences { field, max });
            }
            let id = if rules.references_carry_hashes() && on(Clause::ReferencePairs) {
                let expected = "an array of pairs, each of an event id and an object of hashes";
                let mut pair = Elements::of(element);
                match (pair.next(), pair.next(), pair.next()) {
                    (Some(id), Some(hashes), None) if is_string(id) && is_object(hashes) => id,
                    _ => return Err(PduError::WrongType { field, expected }),
                }
            } else if is_string(element) {
                element
            } else {
                return Err(PduError::WrongType { field, expected: "an array of event ids" });
            };
            // The canonical form has no escape for the sigil.
            if id.get(1) != Some(&b'$') && format(Clause::ReferenceSigil) {
                return Err(PduError::NotAnId { field, expected: "a list of event ids, which begin with `$`" });
            }
            // Two quotation marks, and escapes can only make the text longer than what it means.
            if id.len() > MAX_ID_BYTES + 2 {
                let bytes = decode_string(std::str::from_utf8(id).unwrap_or_default()).len();
                if bytes > MAX_ID_BYTES && format(Clause::FieldSize) {
                    return Err(PduError::FieldTooLong { field, bytes, max: MAX_ID_BYTES });
                }
            }
        }
        Ok(Span { start: range.0 as u32, len: (range.1 - range.0) as u32 })
    }

    fn redacts(
        &mut self,
        rules: &Rules,
        event_type: Span,
        content: Span,
        top_level: Option<(usize, usize)>,
    ) -> Result<Span, PduError> {
        let is_redaction = event_type.of(&self.0) == "m.room.redaction";
        if rules.redacts_in_content && on(Clause::RedactsPlace) {
            // What the content holds is not part of the event format, so anything but a string there redacts nothing.
            let range = if is_redaction { self.member(content, "redacts") } else { None };
            return Ok(range.and_then(|range| self.string("content.redacts", range).ok()).unwrap_or(Span::NONE));
        }
        // Elsewhere it is a member that the format does not know.
        match top_level.filter(|_| is_redaction) {
            Some(range) => self.string("redacts", range),
            None => Ok(Span::NONE),
        }
    }

    fn event_id(
        &mut self,
        rules: &Rules,
        canonical_len: u32,
        event_type: Span,
        sent: Option<(usize, usize)>,
        identity: Identity<'_>,
    ) -> Result<Span, PduError> {
        if rules.event_id == EventIdFormat::Sent && on(Clause::SentId) {
            let event_id = self.string("event_id", required("event_id", sent)?)?;
            self.limit("event_id", event_id)?;
            let has_grammar = event_id
                .of(&self.0)
                .strip_prefix('$')
                .and_then(|rest| rest.split_once(':'))
                .is_some_and(|(_, server)| ids::is_valid_server_name(server));
            if !has_grammar && format(Clause::EventIdGrammar) {
                return Err(PduError::NotAnId {
                    field: "event_id",
                    expected: "an event id with a server name, `$opaque_id:domain`",
                });
            }
            return Ok(event_id);
        }
        let hash = match identity {
            Identity::Known(event_id) => return Ok(self.append(event_id)),
            Identity::Hash(hash) => hash,
            Identity::Computed => {
                let canonical = &self.0.as_bytes()[..canonical_len as usize];
                let mut bytes = Vec::with_capacity(canonical.len());
                let event_type = event_type.of(&self.0);
                redact::redact_canonical(&rules.redaction, canonical, event_type, Signatures::Drop, &mut bytes);
                if on(Clause::ReferenceHash) { hash::sha256(&bytes) } else { hash::sha256(canonical) }
            }
        };
        Ok(self.append(&encode_id(rules.event_id, &hash)))
    }

    fn room_id(
        &mut self,
        rules: &Rules,
        event_type: Span,
        event_id: Span,
        sent: Option<(usize, usize)>,
    ) -> Result<Span, PduError> {
        let is_create = event_type.of(&self.0) == "m.room.create";
        let Some(range) = sent else {
            if rules.create_event_is_room_id && is_create && on(Clause::CreateWithoutRoom) {
                let hash = event_id.of(&self.0).get(usize::from(on(Clause::RoomIdOfCreate))..).unwrap_or_default();
                let room_id = format!("!{hash}");
                return Ok(self.append(&room_id));
            }
            return Err(PduError::Missing { field: "room_id" });
        };
        let room_id = self.string("room_id", range)?;
        self.limit("room_id", room_id)?;
        let text = room_id.of(&self.0);
        if !rules.create_event_is_room_id {
            let has_grammar = text.strip_prefix('!').is_some_and(|rest| rest.contains(':') && !rest.contains('\0'));
            if !has_grammar && format(Clause::RoomIdGrammar) {
                return Err(PduError::NotAnId {
                    field: "room_id",
                    expected: "a room id with a server name, `!opaque_id:domain`",
                });
            }
        } else if !is_create {
            let has_grammar = text.len() == HASH_ID_BYTES
                && text
                    .strip_prefix('!')
                    .is_some_and(|hash| hash.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            if !has_grammar && format(Clause::RoomIdGrammar) {
                return Err(PduError::NotAnId {
                    field: "room_id",
                    expected: "`!` and the hash of a create event in URL-safe Base64",
                });
            }
        }
        Ok(room_id)
    }
}

/// The event id that a reference hash gives.
pub(super) fn encode_id(format: EventIdFormat, hash: &[u8; 32]) -> String {
    let mut id = String::with_capacity(HASH_ID_BYTES);
    id.push('$');
    // The switches exchange the two alphabets.
    let standard = match format {
        EventIdFormat::UrlSafeBase64Hash => !on(Clause::UrlSafeId),
        _ => on(Clause::Base64Id),
    };
    if standard {
        base64::engine::general_purpose::STANDARD_NO_PAD.encode_string(hash, &mut id);
    } else {
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode_string(hash, &mut id);
    }
    id
}

fn required(field: &'static str, range: Option<(usize, usize)>) -> Result<(usize, usize), PduError> {
    range.ok_or(PduError::Missing { field })
}

fn check_signatures(signatures: &str) -> Result<(), PduError> {
    let is_valid = Members::of(signatures.as_bytes())
        .all(|server| is_object(server.value) && Members::of(server.value).all(|signature| is_string(signature.value)));
    if is_valid || !format(Clause::FieldTypes) {
        Ok(())
    } else {
        Err(PduError::WrongType {
            field: "signatures",
            expected: "an object of objects of strings: server name, key id, signature",
        })
    }
}
