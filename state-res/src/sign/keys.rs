//! Signing keys and the keys that verify what they signed.

use std::fmt;

use base64::Engine as _;
use ed25519_dalek::{Signer as _, Verifier as _};

use super::ALGORITHM;
use crate::{
    hash::BASE64,
    switches::{Clause, on},
};

/// A signing key and its identifier.
///
/// `Debug` shows the identifier only.
#[derive(Clone)]
pub struct SigningKey {
    key_id: String,
    key: ed25519_dalek::SigningKey,
}

/// A key that verifies signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyKey(ed25519_dalek::VerifyingKey);

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not of the form `ed25519 VERSION SEED`.
    #[error("a signing key must be written as: ed25519, a version, and 32 bytes in Base64")]
    NotASigningKey,
    /// The version holds other characters than letters, digits and underscores, or none.
    #[error("a key's version must be letters, digits and underscores")]
    BadVersion,
    /// Not 32 bytes in Base64 that are a point of the curve.
    #[error("not an ed25519 public key in Base64")]
    NotAVerifyKey,
}

impl SigningKey {
    /// The key that a 32-byte seed gives. `version` is what follows the colon in its identifier: letters, digits,
    /// underscores.
    ///
    /// # Errors
    /// The version has other characters or none.
    pub fn from_seed(version: &str, seed: [u8; 32]) -> Result<Self, KeyError> {
        let is_valid = !version.is_empty() && version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_valid {
            return Err(KeyError::BadVersion);
        }
        Ok(Self { key_id: format!("{ALGORITHM}:{version}"), key: ed25519_dalek::SigningKey::from_bytes(&seed) })
    }

    /// Reads the form that [`Self::to_text`] writes, which other homeservers use too: `ed25519 VERSION SEED`.
    ///
    /// # Errors
    /// The text is not of this form.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let mut words = text.split_ascii_whitespace();
        let (Some(ALGORITHM), Some(version), Some(seed), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(KeyError::NotASigningKey);
        };
        let seed = BASE64.decode(seed).ok().and_then(|seed| <[u8; 32]>::try_from(seed).ok());
        Self::from_seed(version, seed.ok_or(KeyError::NotASigningKey)?)
    }

    /// The key as text, secret part included: `ed25519 VERSION SEED`, the seed in unpadded Base64.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{ALGORITHM} {} {}", self.version(), BASE64.encode(self.key.as_bytes()))
    }

    /// The key's identifier, such as `ed25519:1`.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The part of the identifier after the colon.
    #[must_use]
    pub fn version(&self) -> &str {
        self.key_id.split_once(':').map_or("", |(_, version)| version)
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn verify_key(&self) -> VerifyKey {
        VerifyKey(self.key.verifying_key())
    }

    /// The signature of these bytes in unpadded Base64.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> String {
        BASE64.encode(self.key.sign(bytes).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl VerifyKey {
    /// The key with these 32 bytes.
    ///
    /// # Errors
    /// The bytes are no point of the curve.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        ed25519_dalek::VerifyingKey::from_bytes(bytes).map(Self).map_err(|_| KeyError::NotAVerifyKey)
    }

    /// Reads a key in Base64, padded or not.
    ///
    /// # Errors
    /// The text is no key.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let bytes = BASE64.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        Self::from_bytes(&bytes.ok_or(KeyError::NotAVerifyKey)?)
    }

    /// The key in unpadded Base64.
    #[must_use]
    pub fn to_base64(&self) -> String {
        BASE64.encode(self.0.as_bytes())
    }

    /// The 32 bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Whether this is a signature, in Base64, of these bytes by this key.
    ///
    /// Weak keys, and signatures that would be valid for several messages, are refused, as the reference library does.
    #[must_use]
    pub fn verifies(&self, bytes: &[u8], signature: &str) -> bool {
        if signature.ends_with('=') && !on(Clause::Padding) {
            return false;
        }
        let Ok(signature) = BASE64.decode(signature) else {
            return false;
        };
        let Ok(signature) = ed25519_dalek::Signature::from_slice(&signature) else {
            return false;
        };
        if !on(Clause::StrictSignatures) {
            return self.0.verify(bytes, &signature).is_ok();
        }
        self.0.verify_strict(bytes, &signature).is_ok()
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifyKey").field(&self.to_base64()).finish()
    }
}
