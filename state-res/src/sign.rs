//! Ed25519 signatures of JSON objects and of events.
//!
//! Specification: appendices, "Signing JSON"; server-server API, "Signing Events".

mod event;
mod keys;

use serde_json::{Map, Value};

pub use event::{
    ContentHash, compare_content_hash, countersign, hash_and_sign_event, merge_signatures, required_signers,
    verify_event, verify_event_by, with_signature,
};
pub use keys::{KeyError, SigningKey, VerifyKey};

use crate::{
    canonical_json::{CanonicalError, Numbers, write_object},
    switches::{Clause, on},
};

/// The signing algorithm, as key ids begin with it.
pub const ALGORITHM: &str = "ed25519";

/// Why a signature does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A signature that must be there is not.
    #[error("there is no ed25519 signature by {server}")]
    Missing {
        /// Whose signature.
        server: String,
    },
    /// There are signatures, but none by a key that is known and was valid.
    #[error("no key of {server} that signed is known and was valid then")]
    NoKnownKey {
        /// Whose key.
        server: String,
    },
    /// A signature was made over something else, by another key, or is no signature.
    #[error("the signature by {server} with {key_id} is wrong")]
    Wrong {
        /// Whose signature.
        server: String,
        /// By which key.
        key_id: String,
    },
    /// The object has no canonical form.
    #[error(transparent)]
    NotCanonical(#[from] CanonicalError),
    /// `join_authorised_via_users_server` is no user id, so no server can have signed for it.
    #[error("`join_authorised_via_users_server` is not a user id")]
    NoAuthorisingUser,
}

/// Signs an object: adds our signature to its `signatures`, beside those that are there (appendices, "Signing Details").
/// `signatures` and `unsigned` are not covered. Whole numbers are signed as integers however they were spelt.
///
/// # Errors
/// The object has no canonical form; nothing was changed.
pub fn sign_json(object: &mut Map<String, Value>, server_name: &str, key: &SigningKey) -> Result<(), CanonicalError> {
    let signature = key.sign(&signed_bytes_of_json(object, Numbers::Whole)?);
    add_signature(object, server_name, key.key_id(), signature);
    Ok(())
}

/// Checks the signature of an object by one key of one server or user (appendices, "Checking for a Signature").
///
/// # Errors
/// The signature is missing or wrong, or the object has no canonical form.
pub fn verify_json(
    object: &Map<String, Value>,
    server_name: &str,
    key_id: &str,
    key: &VerifyKey,
) -> Result<(), SignatureError> {
    let signature = object
        .get("signatures")
        .and_then(|signatures| signatures.get(server_name)?.get(key_id))
        .and_then(Value::as_str)
        .ok_or_else(|| SignatureError::Missing { server: server_name.to_owned() })?;
    let bytes = signed_bytes_of_json(object, Numbers::Whole)?;
    if key.verifies(&bytes, signature) {
        Ok(())
    } else {
        Err(SignatureError::Wrong { server: server_name.to_owned(), key_id: key_id.to_owned() })
    }
}

/// What of an object is signed: its canonical JSON without `signatures` and `unsigned`.
pub(crate) fn signed_bytes_of_json(object: &Map<String, Value>, numbers: Numbers) -> Result<Vec<u8>, CanonicalError> {
    let mut bytes = Vec::with_capacity(512);
    if object.contains_key("signatures") || object.contains_key("unsigned") {
        let mut covered = object.clone();
        covered.remove("signatures");
        if on(Clause::SignedPart) {
            covered.remove("unsigned");
        }
        write_object(&covered, numbers, &mut bytes)?;
    } else {
        write_object(object, numbers, &mut bytes)?;
    }
    Ok(bytes)
}

/// Puts a signature where it belongs. Anything there that is no object gives way.
pub(crate) fn add_signature(object: &mut Map<String, Value>, server_name: &str, key_id: &str, signature: String) {
    let signatures = entry_object(object, "signatures");
    if !on(Clause::SignaturesStay) {
        signatures.clear();
    }
    entry_object(signatures, server_name).insert(key_id.to_owned(), Value::String(signature));
}

fn entry_object<'a>(object: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was made an object in the lines above")
}
