//! Event formats, canonical JSON, hashes, redaction and signatures, through the public surface.
//!
//! Every test names the clause of the specification that it checks.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub)]

mod building;
mod canonical;
#[path = "../common/clauses.rs"]
mod docs;
mod format;
mod generate;
mod mutants;
#[path = "../common/mutants.rs"]
mod mutants_of;
mod numbers;
mod oracle;
mod redaction;
mod signatures;
mod steps;
mod vectors;

use state_res::sign::SigningKey;

/// The signing key of the specification's test vectors (appendices, "Cryptographic Test Vectors").
fn spec_key() -> SigningKey {
    SigningKey::from_text("ed25519 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1").unwrap()
}

/// A key of our own.
fn key(number: u8) -> SigningKey {
    SigningKey::from_seed("k1", [number; 32]).unwrap()
}
