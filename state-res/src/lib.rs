//! Matrix rooms as pure functions: events, authorisation, state resolution.
//!
//! Everything here takes bytes and values and returns values. There is no clock, no network, no randomness and no async:
//! whoever has those calls in. The crate stands alone and can be used by any program that handles Matrix rooms.
//!
//! An event travels through these modules in this order:
//!
//! 1. [`pdu::Pdu::parse`] reads an event of a given [`room_version::RoomVersion`], checks its format and limits, brings it
//!    into [`canonical_json`] and computes its identifier ([`hash`]).
//! 2. [`steps::Received::check`] verifies signatures ([`sign`]) and the content hash; when the hash differs the redacted
//!    copy ([`redact`]) takes the event's place.
//! 3. [`auth`] decides whether the room's state allows the event.
//! 4. [`resolve`] merges the states of several branches, kept as persistent trees ([`tree`]).
//!
//! Events of our own come from [`mod@build`].

#![forbid(unsafe_code)]

pub mod auth;
pub mod build;
pub mod canonical_json;
pub mod hash;
pub mod ids;
pub mod pdu;
pub mod redact;
pub mod resolve;
pub mod room_version;
pub mod sign;
pub mod steps;
#[cfg(feature = "rule-switches")]
pub mod switches;
#[cfg(not(feature = "rule-switches"))]
mod switches;
pub mod tree;
