//! Content hashes and reference hashes of events.
//!
//! Specification: server-server API, "Calculating the content hash for an event" and "Calculating the reference hash for
//! an event". A [`crate::pdu::Pdu`] has both as methods; the functions here also take objects that are no complete events.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    canonical_json::{CanonicalError, Members, write_object},
    pdu::numbers_of,
    redact::{self, Signatures},
    room_version::RoomVersion,
    switches::{Clause, on},
};

/// Unpadded Base64 that also reads padded text (appendices, "Unpadded Base64"), and does not mind unused bits at the end,
/// as most readers do not.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The content hash of an event, complete or not: SHA-256 of its canonical JSON without `unsigned`, `signatures` and
/// `hashes`.
///
/// # Errors
/// The event has no canonical form in this room version.
pub fn content_hash(version: RoomVersion, event: &Map<String, Value>) -> Result<[u8; 32], CanonicalError> {
    Ok(content_hash_of_canonical(&canonical_without_unsigned(version, event)?))
}

/// The reference hash of an event, complete or not: SHA-256 of the canonical JSON of the redacted event without
/// `signatures` and `unsigned`.
///
/// # Errors
/// The event has no canonical form in this room version.
pub fn reference_hash(version: RoomVersion, event: &Map<String, Value>) -> Result<[u8; 32], CanonicalError> {
    let canonical = canonical_without_unsigned(version, event)?;
    let event_type = event.get("type").and_then(Value::as_str).unwrap_or_default();
    let mut redacted = Vec::with_capacity(canonical.len());
    let rules = &version.rules().redaction;
    redact::redact_canonical(rules, &canonical, event_type, Signatures::Drop, &mut redacted);
    Ok(sha256(&redacted))
}

/// What hashes begin with. `unsigned` may hold what has no canonical form: nobody hashes it.
fn canonical_without_unsigned(version: RoomVersion, event: &Map<String, Value>) -> Result<Vec<u8>, CanonicalError> {
    let mut canonical = Vec::with_capacity(1024);
    if event.contains_key("unsigned") {
        let mut hashed = event.clone();
        hashed.remove("unsigned");
        write_object(&hashed, numbers_of(version), &mut canonical)?;
    } else {
        write_object(event, numbers_of(version), &mut canonical)?;
    }
    Ok(canonical)
}

/// A hash as unpadded Base64, as in `hashes.sha256`.
#[must_use]
pub fn encode(hash: &[u8; 32]) -> String {
    BASE64.encode(hash)
}

/// Whether a text from outside, such as `hashes.sha256`, is this hash: as bytes, for Base64 may be padded.
#[must_use]
pub fn is_encoded(text: &str, hash: &[u8; 32]) -> bool {
    BASE64.decode(text).is_ok_and(|bytes| bytes == hash)
}

/// The content hash of an event in canonical form: that of the text without the members that do not count, taken in the
/// pieces between them, so that nothing is copied.
pub(crate) fn content_hash_of_canonical(canonical: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"{");
    let mut is_first = true;
    let mut piece: Option<(usize, usize)> = None;
    let mut flush = |piece: Option<(usize, usize)>| {
        if let Some((start, end)) = piece {
            if !is_first {
                hasher.update(b",");
            }
            is_first = false;
            hasher.update(&canonical[start..end]);
        }
    };
    for member in Members::of(canonical) {
        if matches!(member.name, b"signatures" | b"unsigned") || (member.name == b"hashes" && on(Clause::ContentHash)) {
            flush(piece.take());
        } else {
            piece = Some((piece.map_or(member.start, |(start, _)| start), member.end));
        }
    }
    flush(piece);
    hasher.update(b"}");
    hasher.finalize().into()
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
