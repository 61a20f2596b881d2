//! Events that lack members which their format asks for, for tools that are handed such events.

use super::{Identity, Pdu, PduError, encode_id, numbers_of};
use crate::{
    canonical_json::{Document, Members, Numbers, decode_string, is_string},
    hash,
    pdu::MAX_PDU_TEXT_BYTES,
    redact::{self, Signatures},
    room_version::{EventIdFormat, RoomVersion, StateResolution},
};

/// An event that may lack members which the rules of rooms do not look at: those that vouch for it (`hashes`,
/// `signatures`), and that one of `depth` (from room version 2 on) and `origin_server_ts` (in version 1) by which state
/// resolution of its version does not order.
///
/// Servers refuse such events ([`Pdu::parse`] does). Examples, test rooms and events that are yet to be signed are written
/// like this. Hashes are over what is there.
#[derive(Clone, Debug)]
pub struct PartialPdu {
    event: Pdu,
    canonical: Vec<u8>,
    /// The note of the event's id that was left out.
    noted_id: bool,
    absent: Vec<&'static str>,
}

impl PartialPdu {
    /// Reads an event from JSON text, otherwise as [`Pdu::parse`].
    ///
    /// From room version 3 on an event has no `event_id` of its own. One that says just what the event's id is without it
    /// is taken as a reader's note and left out; any other is a member that the format does not know, and hashed.
    ///
    /// # Errors
    /// As [`Pdu::parse`], but for the members that may be absent.
    pub fn parse(version: RoomVersion, json: &[u8]) -> Result<Self, PduError> {
        if json.len() > MAX_PDU_TEXT_BYTES {
            return Err(PduError::TooLarge { bytes: json.len(), max: MAX_PDU_TEXT_BYTES });
        }
        let document = Document::parse(json)?;
        if !document.is_object(Document::ROOT) {
            return Err(PduError::NotAnObject);
        }
        let mut canonical = Vec::with_capacity(json.len());
        let unsigned = document.write_object(Document::ROOT, Some("unsigned"), numbers_of(version), &mut canonical)?;
        let mut unsigned_json = Vec::new();
        if let Some(node) = unsigned {
            document.write(node, Numbers::Lenient, &mut unsigned_json)?;
        }
        let mut noted_id = false;
        if version.rules().event_id != EventIdFormat::Sent
            && let Some(noted) = string_member(&canonical, b"event_id")
        {
            let bare = without(&canonical, b"event_id");
            if id_of(version, &bare) == noted {
                canonical = bare;
                noted_id = true;
            }
        }

        let mut complete = canonical.clone();
        let mut absent = Vec::new();
        for (name, value) in may_be_absent(version) {
            if !Members::of(&complete).any(|member| member.name == name.as_bytes()) {
                absent.push(name);
                complete = with(&complete, name, value);
            }
        }
        if absent.is_empty() {
            let event = Pdu::from_canonical(version, complete, &unsigned_json, Identity::Computed)?;
            return Ok(Self { event, canonical, noted_id, absent });
        }
        let id = id_of(version, &canonical);
        let event = Pdu::from_canonical(version, complete, &unsigned_json, Identity::Known(&id))?;
        Ok(Self { event, canonical, noted_id, absent })
    }

    /// The event, with empty hashes and signatures, depth 0 or time 0 for what is absent. Its id is that of the event as it
    /// came; its own hashes are not.
    #[must_use]
    pub fn event(&self) -> &Pdu {
        &self.event
    }

    /// Which members are absent.
    #[must_use]
    pub fn absent(&self) -> &[&'static str] {
        &self.absent
    }

    /// The event as it came as canonical JSON, with all that it came with: `unsigned`, whose numbers stay as they came, and a
    /// note of its id.
    #[must_use]
    pub fn whole_canonical(&self) -> String {
        let mut whole = self.canonical.clone();
        if self.noted_id {
            whole = with(&whole, "event_id", &format!("\"{}\"", self.event.event_id()));
        }
        if let Some(unsigned) = self.event.unsigned_json().and_then(|json| std::str::from_utf8(json).ok()) {
            whole = with(&whole, "unsigned", unsigned);
        }
        String::from_utf8(whole).unwrap_or_default()
    }

    /// The event as it came as canonical JSON, without `unsigned` and a note of its id: what hashes begin with.
    #[must_use]
    pub fn canonical_str(&self) -> &str {
        // Written from a text of UTF-8.
        std::str::from_utf8(&self.canonical).unwrap_or_default()
    }

    /// The content hash of the event as it came.
    #[must_use]
    pub fn content_hash(&self) -> [u8; 32] {
        hash::content_hash_of_canonical(&self.canonical)
    }

    /// The reference hash of the event as it came.
    #[must_use]
    pub fn reference_hash(&self) -> [u8; 32] {
        reference_hash(self.event.version(), &self.canonical, self.event.event_type())
    }

    /// The event as it came, redacted, as canonical JSON.
    #[must_use]
    pub fn redacted_canonical(&self) -> String {
        let mut redacted = Vec::with_capacity(self.canonical.len());
        let rules = &self.event.version().rules().redaction;
        redact::redact_canonical(rules, &self.canonical, self.event.event_type(), Signatures::Keep, &mut redacted);
        String::from_utf8(redacted).unwrap_or_default()
    }
}

/// The members that an event may lack, each with what stands in for it.
fn may_be_absent(version: RoomVersion) -> [(&'static str, &'static str); 3] {
    let order = match version.rules().state_resolution {
        // By depth and id.
        StateResolution::V1 => ("origin_server_ts", "0"),
        // By power, time and id.
        StateResolution::V2 | StateResolution::V2_1 => ("depth", "0"),
    };
    [("hashes", r#"{"sha256":""}"#), ("signatures", "{}"), order]
}

pub(super) fn id_of(version: RoomVersion, canonical: &[u8]) -> String {
    let event_type = string_member(canonical, b"type").unwrap_or_default();
    encode_id(version.rules().event_id, &reference_hash(version, canonical, &event_type))
}

fn reference_hash(version: RoomVersion, canonical: &[u8], event_type: &str) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(canonical.len());
    redact::redact_canonical(&version.rules().redaction, canonical, event_type, Signatures::Drop, &mut bytes);
    hash::sha256(&bytes)
}

pub(super) fn string_member(canonical: &[u8], name: &[u8]) -> Option<String> {
    let member = Members::of(canonical).find(|member| member.name == name)?;
    let text = std::str::from_utf8(member.value).ok().filter(|_| is_string(member.value))?;
    Some(decode_string(text).into_owned())
}

/// A canonical object without a member.
fn without(canonical: &[u8], name: &[u8]) -> Vec<u8> {
    let members = Members::of(canonical).filter(|member| member.name != name);
    joined(members.map(|member| canonical[member.start..member.end].to_vec()))
}

/// A canonical object with one more member, whose name needs no escapes.
fn with(canonical: &[u8], name: &str, value: &str) -> Vec<u8> {
    let mut members: Vec<(String, Vec<u8>)> = Members::of(canonical)
        .map(|member| {
            let quoted = String::from_utf8_lossy(&canonical[member.start..member.value_start - 1]).into_owned();
            (decode_string(&quoted).into_owned(), canonical[member.start..member.end].to_vec())
        })
        .collect();
    let at = members.partition_point(|(before, _)| before.as_str() < name);
    members.insert(at, (name.to_owned(), format!("\"{name}\":{value}").into_bytes()));
    joined(members.into_iter().map(|(_, member)| member))
}

fn joined(members: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut object = vec![b'{'];
    for member in members {
        if object.len() > 1 {
            object.push(b',');
        }
        object.extend_from_slice(&member);
    }
    object.push(b'}');
    object
}
