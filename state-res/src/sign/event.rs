//! Signatures of events. They cover the redacted event, so that they still hold when it is redacted.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{ALGORITHM, SignatureError, SigningKey, VerifyKey, add_signature, signed_bytes_of_json};
use crate::{
    canonical_json::{CanonicalError, Document, Numbers, write_object},
    hash, ids,
    pdu::{Identity, Pdu, PduError, numbers_of},
    redact::redact,
    room_version::{EventIdFormat, RoomVersion},
    switches::{Clause, on},
};

/// Whether an event's content is what its sender hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentHash {
    /// It is.
    Matches,
    /// It is not: the redacted copy takes the event's place.
    Differs,
}

/// The servers that must have signed an event (server-server API, "Validating hashes and signatures on received events"):
///
/// - the sender's server, unless the event is an invite by third-party identifier, which another server may have sent, and is one still
///   if its content is not what was hashed, so that its redacted copy goes on;
/// - in room versions 1 and 2 the server in the event id;
/// - from room version 8 on, the server of the user that a member event names in `join_authorised_via_users_server`
///   (rule 4.2, in version 12 rule 5.2).
///
/// # Errors
/// That user is no user id.
pub fn required_signers(event: &Pdu) -> Result<BTreeSet<String>, SignatureError> {
    let rules = event.version().rules();
    let mut servers = BTreeSet::new();
    // Only member events need their content looked at.
    let member = (event.event_type() == "m.room.member").then(|| event.content());
    // Its signatures are for the authorisation rules, which see only what goes on: without this, anyone could invite in anyone's name.
    let is_spared = is_third_party_invite(event)
        && (compare_content_hash(event) == ContentHash::Matches || is_third_party_invite(&event.redacted()));
    if (!is_spared || !on(Clause::ThirdPartyInvites)) && on(Clause::SenderSigns) {
        servers.insert(event.sender_server().to_owned());
    }
    if rules.event_id == EventIdFormat::Sent && on(Clause::EventIdSigns) {
        servers.extend(ids::server_of(event.event_id()).map(str::to_owned));
    }
    if rules.auth.restricted_joins
        && on(Clause::AuthoriserSigns)
        && let Some(user) = member.and_then(|content| content.get("join_authorised_via_users_server"))
    {
        let user = user.as_str().filter(|user| ids::is_valid_user_id(user));
        let server = user.and_then(ids::server_of).ok_or(SignatureError::NoAuthorisingUser)?;
        servers.insert(server.to_owned());
    }
    if !on(Clause::OthersSignatures) {
        servers.extend(event.signatures().map(|(server, ..)| server));
    }
    Ok(servers)
}

fn is_third_party_invite(event: &Pdu) -> bool {
    event.event_type() == "m.room.member"
        && event.content().get("membership").and_then(Value::as_str) == Some("invite")
        && event.content().contains_key("third_party_invite")
}

/// Checks that everyone who must sign an event did, and compares its content hash (server-server API, "Validating hashes
/// and signatures on received events").
///
/// `lookup` gives the key of a server with this key id; `None` if it is unknown or was not valid at the event's
/// `origin_server_ts` (room versions 5 and later enforce that). Signatures by such keys are passed over, but each server
/// must have signed with a known one, and no signature by a known one may be wrong.
///
/// # Errors
/// Which signature is missing or wrong.
pub fn verify_event(
    event: &Pdu,
    lookup: impl Fn(&str, &str) -> Option<VerifyKey>,
) -> Result<ContentHash, SignatureError> {
    let bytes = event.signed_bytes();
    for server in required_signers(event)? {
        verify_bytes(event, &bytes, &server, &lookup)?;
    }
    Ok(compare_content_hash(event))
}

/// Compares the content hash that an event carries with the one that its content has.
#[must_use]
pub fn compare_content_hash(event: &Pdu) -> ContentHash {
    if hash::is_encoded(event.sent_content_hash(), &event.content_hash()) {
        ContentHash::Matches
    } else {
        ContentHash::Differs
    }
}

/// Checks that one server signed an event, whether or not it must have.
///
/// # Errors
/// The signature is missing or wrong.
pub fn verify_event_by(
    event: &Pdu,
    server: &str,
    lookup: impl Fn(&str, &str) -> Option<VerifyKey>,
) -> Result<(), SignatureError> {
    verify_bytes(event, &event.signed_bytes(), server, &lookup)
}

fn verify_bytes(
    event: &Pdu,
    bytes: &[u8],
    server: &str,
    lookup: &impl Fn(&str, &str) -> Option<VerifyKey>,
) -> Result<(), SignatureError> {
    let (mut has_signed, mut is_verified) = (false, false);
    for (signer, key_id, signature) in event.signatures() {
        if signer != server || !is_ed25519(&key_id) {
            continue;
        }
        has_signed = true;
        let Some(key) = lookup(server, &key_id) else {
            continue;
        };
        if !key.verifies(bytes, &signature) {
            if !on(Clause::EverySignature) {
                continue;
            }
            return Err(SignatureError::Wrong { server: server.to_owned(), key_id });
        }
        is_verified = true;
    }
    match (has_signed, is_verified) {
        (_, true) => Ok(()),
        (true, false) => Err(SignatureError::NoKnownKey { server: server.to_owned() }),
        (false, false) => Err(SignatureError::Missing { server: server.to_owned() }),
    }
}

fn is_ed25519(key_id: &str) -> bool {
    key_id.split_once(':').is_some_and(|(algorithm, _)| algorithm == ALGORITHM || !on(Clause::KnownAlgorithm))
}

/// Adds the content hash and our signature to an event, complete or not (server-server API, "Adding hashes and signatures
/// to outgoing events"). Signatures that are there stay.
///
/// # Errors
/// The event has no canonical form in this room version; nothing was changed.
pub fn hash_and_sign_event(
    version: RoomVersion,
    event: &mut Map<String, Value>,
    server_name: &str,
    key: &SigningKey,
) -> Result<(), CanonicalError> {
    let content_hash = hash::content_hash(version, event)?;
    let hashes = Map::from_iter([("sha256".to_owned(), Value::String(hash::encode(&content_hash)))]);
    if on(Clause::HashFirst) {
        event.insert("hashes".to_owned(), Value::Object(hashes));
    }
    let redacted = if on(Clause::SignedRedacted) { redact(version, event) } else { event.clone() };
    let signature = key.sign(&signed_bytes_of_json(&redacted, numbers_of(version))?);
    add_signature(event, server_name, key.key_id(), signature);
    Ok(())
}

/// The event with our signature added: as the invited user's server does, or the server that vouches for a restricted
/// join.
///
/// # Errors
/// With the signature the event would be too large.
pub fn countersign(event: &Pdu, server_name: &str, key: &SigningKey) -> Result<Pdu, PduError> {
    let signature = key.sign(&event.signed_bytes());
    let mut object = Map::from_iter([("signatures".to_owned(), Value::Object(signatures_of(event)))]);
    add_signature(&mut object, server_name, key.key_id(), signature);
    with_signatures(event, object.remove("signatures").unwrap_or_default())
}

/// The event with those signatures of a copy of it that it lacks. A copy of another event changes nothing.
///
/// # Errors
/// With the signatures the event would be too large.
pub fn merge_signatures(event: &Pdu, copy: &Pdu) -> Result<Pdu, PduError> {
    if event.event_id() != copy.event_id() || event.reference_hash() != copy.reference_hash() {
        return Ok(event.clone());
    }
    let mut object = Map::from_iter([("signatures".to_owned(), Value::Object(signatures_of(copy)))]);
    for (server, key_id, signature) in event.signatures() {
        add_signature(&mut object, &server, &key_id, signature);
    }
    with_signatures(event, object.remove("signatures").unwrap_or_default())
}

/// The event with a signature that another server made and gave apart from the event, in place of one by the same key if there is one. It
/// is not verified.
///
/// # Errors
/// With the signature the event would be too large.
pub fn with_signature(event: &Pdu, server_name: &str, key_id: &str, signature: &str) -> Result<Pdu, PduError> {
    let mut object = Map::from_iter([("signatures".to_owned(), Value::Object(signatures_of(event)))]);
    add_signature(&mut object, server_name, key_id, signature.to_owned());
    with_signatures(event, object.remove("signatures").unwrap_or_default())
}

fn signatures_of(event: &Pdu) -> Map<String, Value> {
    Document::parse(event.signatures_json()).map(|json| json.object(Document::ROOT)).unwrap_or_default()
}

/// Replaces the signatures in the event's text, so that every other byte stays as it is.
fn with_signatures(event: &Pdu, signatures: Value) -> Result<Pdu, PduError> {
    let Value::Object(signatures) = signatures else {
        return Ok(event.clone());
    };
    let (before, after) = event.around_signatures();
    let mut canonical = Vec::with_capacity(event.canonical().len() + 256);
    canonical.extend_from_slice(before);
    write_object(&signatures, Numbers::Strict, &mut canonical)?;
    canonical.extend_from_slice(after);
    let unsigned = event.unsigned_json().unwrap_or_default();
    Pdu::from_canonical(event.version(), canonical, unsigned, Identity::Known(event.event_id()))
}
