//! Names of what a batch touches, by which readers are woken.

use sha2::{Digest, Sha256};

/// An opaque topic: a user, a room, a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(pub [u8; 16]);

impl Topic {
    /// The topic of `bytes` among those of its kind: 128 bits of SHA-256 over both.
    pub fn of(kind: &str, bytes: &[u8]) -> Self {
        Self(digest(&[kind.as_bytes(), bytes]))
    }
}

/// The first 128 bits of SHA-256 over the parts, each but the last with its length before it.
pub(crate) fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    if let Some((last, first)) = parts.split_last() {
        for part in first {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(last);
    }
    let hash = hash.finalize();
    let mut short = [0; 16];
    short.copy_from_slice(&hash[..16]);
    short
}
