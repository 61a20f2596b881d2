//! What the fuzz targets check (fuzz/src/lib.rs), over their kept corpus and over random bytes: what they found stays found
//! without a fuzzer.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

#[path = "../../fuzz/src/lib.rs"]
mod checks;

/// How many random inputs each check gets.
const RANDOM_INPUTS: u64 = 500;

/// Runs a check over the corpus of the target of this name, and over random bytes. A failure names the input.
fn run(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 10, "{} is nearly empty", folder.display());
    for file in files {
        println!("{}", file.display());
        check(&std::fs::read(&file).unwrap());
    }
    for seed in 0..RANDOM_INPUTS {
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = vec![0; rng.random_range(0..300)];
        rng.fill_bytes(&mut bytes);
        check(&bytes);
    }
}

#[test]
fn canonical_json() {
    run("canonical_json", checks::canonical_json);
}

#[test]
fn event() {
    run("event", checks::event);
}

#[test]
fn redaction() {
    run("redaction", checks::redaction);
}

#[test]
fn authorisation() {
    run("authorisation", checks::authorisation);
}

#[test]
fn resolution() {
    run("resolution", checks::resolution);
}
