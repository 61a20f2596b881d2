//! The document in which a server publishes its keys, read and verified.

use std::collections::BTreeMap;

use net::Timestamp;
use serde::Deserialize;
use state_res::sign::VerifyKey;

use crate::RawJson;

/// The most keys, of either kind, that a document may list.
const MAX_KEYS: usize = 64;

/// The longest key id that is taken.
const MAX_KEY_ID_BYTES: usize = 255;

/// A server's published keys; it carries that server's own signature.
#[derive(Clone, Debug)]
pub struct KeyDocument {
    /// Whose keys these are.
    pub server_name: String,
    /// Keys that sign requests and events, each of which has signed this document.
    pub verify_keys: BTreeMap<String, VerifyKey>,
    /// Keys that used to, and when that ended.
    pub old_verify_keys: BTreeMap<String, (VerifyKey, Timestamp)>,
    /// When the document should be fetched anew; the seven days are not applied.
    pub valid_until: Timestamp,
    /// The text.
    pub raw: RawJson,
}

/// Why a document is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is of another form.
    #[error("the keys are not in the form that the specification gives them: {0}")]
    Form(String),
    /// It is another server's.
    #[error("the keys are those of another server, {0}")]
    OtherServer(String),
    /// None of the keys has signed it.
    #[error("none of the server's keys has signed them")]
    Unsigned,
}

#[derive(Deserialize)]
struct Body {
    server_name: String,
    verify_keys: BTreeMap<String, PublicKey>,
    #[serde(default)]
    old_verify_keys: BTreeMap<String, PublicOldKey>,
    valid_until_ts: i64,
}

#[derive(Deserialize)]
struct PublicKey {
    key: String,
}

#[derive(Deserialize)]
struct PublicOldKey {
    key: String,
    expired_ts: i64,
}

impl KeyDocument {
    /// Reads the document of `server_name` and keeps the keys that have signed it. Keys of algorithms other than Ed25519 are left out.
    ///
    /// # Errors
    ///
    /// [`DocumentError`].
    pub fn read(server_name: &str, raw: RawJson) -> Result<Self, DocumentError> {
        let form = |error: &dyn std::fmt::Display| DocumentError::Form(error.to_string());
        let body: Body = raw.parse().map_err(|error| form(&error))?;
        if body.server_name != server_name {
            return Err(DocumentError::OtherServer(body.server_name.chars().take(MAX_KEY_ID_BYTES).collect()));
        }
        if body.verify_keys.len() > MAX_KEYS || body.old_verify_keys.len() > MAX_KEYS {
            return Err(DocumentError::Form(format!("they are more than {MAX_KEYS}")));
        }
        let object: serde_json::Map<_, _> = raw.parse().map_err(|error| form(&error))?;
        let mut verify_keys = BTreeMap::new();
        for (key_id, public) in body.verify_keys {
            let Some(key) = ed25519(&key_id, &public.key) else { continue };
            if state_res::sign::verify_json(&object, server_name, &key_id, &key).is_ok() {
                verify_keys.insert(key_id, key);
            }
        }
        if verify_keys.is_empty() {
            return Err(DocumentError::Unsigned);
        }
        let mut old_verify_keys = BTreeMap::new();
        for (key_id, public) in body.old_verify_keys {
            if let Some(key) = ed25519(&key_id, &public.key) {
                old_verify_keys.insert(key_id, (key, timestamp(public.expired_ts)));
            }
        }
        let valid_until = timestamp(body.valid_until_ts);
        Ok(Self { server_name: body.server_name, verify_keys, old_verify_keys, valid_until, raw })
    }
}

fn ed25519(key_id: &str, key: &str) -> Option<VerifyKey> {
    if !key_id.starts_with("ed25519:") || key_id.len() > MAX_KEY_ID_BYTES {
        return None;
    }
    VerifyKey::from_base64(key).ok()
}

fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(millis).unwrap_or(0))
}
