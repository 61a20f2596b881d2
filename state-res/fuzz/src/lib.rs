//! What the fuzz targets check. Each function takes any bytes, and panics if a promise of the crate does not hold for them.
//!
//! The tests of state-res include this file too and run it over the kept corpus, so that what was found stays found without a
//! fuzzer.

mod authorisation;
mod bytes;
mod canonical_json;
mod event;
mod events;
// Leaving clauses out is for the tests.
#[allow(dead_code)]
#[path = "../../tests/common/letter.rs"]
mod letter;
mod redaction;
mod resolution;
mod rooms;

pub use self::{
    authorisation::authorisation, canonical_json::canonical_json, event::event, redaction::redaction,
    resolution::resolution,
};
