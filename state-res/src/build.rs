//! Making events of our own: canonical form, content hash, signature, identifier.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    canonical_json::{write_object, write_string},
    hash::{self, BASE64},
    pdu::{Identity, Pdu, PduError, numbers_of},
    redact::{self, Signatures},
    room_version::{EventIdFormat, RoomVersion, Rules},
    sign::{SigningKey, hash_and_sign_event},
};

/// What an event is made of, but for what follows from the rest: hashes, signatures, identifier.
#[derive(Clone, Debug, Default)]
pub struct EventFields {
    /// The event type.
    pub event_type: String,
    /// The state key of a state event.
    pub state_key: Option<String>,
    /// The user who sends it.
    pub sender: String,
    /// The room. Not used for a create event of room version 12, whose hash is the room id.
    pub room_id: String,
    /// The content.
    pub content: Map<String, Value>,
    /// The events before this one.
    pub prev_events: Vec<String>,
    /// The events that allow this one.
    pub auth_events: Vec<String>,
    /// One more than the greatest depth of `prev_events`.
    pub depth: i64,
    /// Now, in milliseconds since the Unix epoch.
    pub origin_server_ts: i64,
    /// For `m.room.redaction`: the event to redact. It goes to the top level or into the content, as the version has it.
    pub redacts: Option<String>,
    /// Room versions 1 and 2: the reference hashes ([`Pdu::reference_hash`]) of `prev_events` and `auth_events`.
    pub reference_hashes: BTreeMap<String, [u8; 32]>,
}

/// Makes an event: brings it into canonical form, hashes and signs it.
///
/// The result depends on nothing but the arguments. In room versions 1 and 2 the opaque part of the event id is a hash of
/// everything else in the event.
///
/// # Errors
/// The event would break its version's format or a limit.
pub fn build(version: RoomVersion, fields: EventFields, server_name: &str, key: &SigningKey) -> Result<Pdu, PduError> {
    let rules = version.rules();
    let mut fields = fields;
    if let Some(redacts) = fields.redacts.take_if(|_| rules.redacts_in_content) {
        fields.content.insert("redacts".to_owned(), Value::String(redacts));
    }

    // Members in ascending order: auth_events, content, depth, event_id | hashes | origin_server_ts, prev_events, redacts,
    // room_id, sender | signatures | state_key, type. The three parts stay as they are while the other two come about.
    let mut front = Vec::with_capacity(1024);
    front.extend_from_slice(b"{\"auth_events\":");
    write_references(rules, &fields.auth_events, &fields.reference_hashes, &mut front)?;
    front.extend_from_slice(b",\"content\":");
    write_object(&fields.content, numbers_of(version), &mut front)?;
    front.extend_from_slice(b",\"depth\":");
    front.extend_from_slice(fields.depth.to_string().as_bytes());

    let mut middle = Vec::with_capacity(512);
    middle.extend_from_slice(b",\"origin_server_ts\":");
    middle.extend_from_slice(fields.origin_server_ts.to_string().as_bytes());
    middle.extend_from_slice(b",\"prev_events\":");
    write_references(rules, &fields.prev_events, &fields.reference_hashes, &mut middle)?;
    if let Some(redacts) = &fields.redacts {
        write_member("redacts", redacts, &mut middle);
    }
    if !(rules.create_event_is_room_id && fields.event_type == "m.room.create") {
        write_member("room_id", &fields.room_id, &mut middle);
    }
    write_member("sender", &fields.sender, &mut middle);

    let mut back = Vec::with_capacity(128);
    if let Some(state_key) = &fields.state_key {
        write_member("state_key", state_key, &mut back);
    }
    write_member("type", &fields.event_type, &mut back);
    back.push(b'}');

    if rules.event_id == EventIdFormat::Sent {
        let hash = hash_of(&[&front, &middle, &back]);
        write_member("event_id", &event_id_of(&hash, server_name), &mut front);
    }

    let content_hash = hash_of(&[&front, &middle, &back]);
    front.extend_from_slice(b",\"hashes\":{\"sha256\":\"");
    front.extend_from_slice(hash::encode(&content_hash).as_bytes());
    front.extend_from_slice(b"\"}");
    front.extend_from_slice(&middle);

    let signatures_at = front.len();
    let mut canonical = front;
    canonical.extend_from_slice(&back);
    let mut signed = Vec::with_capacity(canonical.len());
    redact::redact_canonical(&rules.redaction, &canonical, &fields.event_type, Signatures::Drop, &mut signed);
    let mut signatures = Vec::with_capacity(192);
    signatures.extend_from_slice(b",\"signatures\":{");
    write_string(server_name, &mut signatures);
    signatures.extend_from_slice(b":{");
    write_string(key.key_id(), &mut signatures);
    signatures.extend_from_slice(b":\"");
    signatures.extend_from_slice(key.sign(&signed).as_bytes());
    signatures.extend_from_slice(b"\"}}");
    canonical.splice(signatures_at..signatures_at, signatures);

    let event = Pdu::from_canonical(version, canonical, &[], Identity::Hash(hash::sha256(&signed)))?;
    // With strict numbers the canonical form says what the value said, so reading it again would give the same.
    Ok(if rules.strict_canonical_json { event.with_content(fields.content) } else { event })
}

/// Makes an event from a template that another server proposed, as `make_join` and its likes give: removes `hashes`,
/// `signatures`, `unsigned` and any event id, then hashes and signs. What the caller wants changed in the template, it
/// changes before.
///
/// # Errors
/// The event would break its version's format or a limit.
pub fn build_from_template(
    version: RoomVersion,
    mut template: Map<String, Value>,
    server_name: &str,
    key: &SigningKey,
) -> Result<Pdu, PduError> {
    for name in ["event_id", "hashes", "signatures", "unsigned"] {
        template.remove(name);
    }
    if version.rules().event_id == EventIdFormat::Sent {
        let event_id = event_id_of(&hash::content_hash(version, &template)?, server_name);
        template.insert("event_id".to_owned(), Value::String(event_id));
    }
    hash_and_sign_event(version, &mut template, server_name, key)?;
    Pdu::from_value(version, &template)
}

/// The event id, in room versions 1 and 2, of an event that is otherwise complete.
fn event_id_of(hash: &[u8; 32], server_name: &str) -> String {
    // 18 bytes: as unlikely to meet again as the ids that other servers draw, and no padding.
    let opaque = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&hash[..18]);
    format!("${opaque}:{server_name}")
}

fn hash_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn write_member(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b',');
    write_string(name, out);
    out.push(b':');
    write_string(value, out);
}

fn write_references(
    rules: &Rules,
    events: &[String],
    hashes: &BTreeMap<String, [u8; 32]>,
    out: &mut Vec<u8>,
) -> Result<(), PduError> {
    out.push(b'[');
    for (index, event_id) in events.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if !rules.references_carry_hashes() {
            write_string(event_id, out);
            continue;
        }
        let hash = hashes.get(event_id).ok_or_else(|| PduError::NoReferenceHash { event_id: event_id.clone() })?;
        out.push(b'[');
        write_string(event_id, out);
        out.extend_from_slice(b",{\"sha256\":\"");
        out.extend_from_slice(BASE64.encode(hash).as_bytes());
        out.extend_from_slice(b"\"}]");
    }
    out.push(b']');
    Ok(())
}
