//! The Matrix server-server protocol: discovery, signed requests, the key ring, outbound queues, inbound routes.
//!
//! This crate speaks the protocol and knows no rooms. What answers a peer is an [`Answers`], what keeps a queue a
//! [`queue::QueueStore`], what remembers a key a [`keys::KeyStore`]; the services implement them, and so do test peers, so that both
//! mount the same routes.

pub mod answers;
pub mod api_error;
pub mod auth;
pub mod client;
mod crowded;
pub mod discovery;
pub mod edu;
pub mod ids;
pub mod inbound;
pub mod keys;
pub mod limits;
pub mod queue;
pub mod raw_json;
pub mod types;

pub use answers::Answers;
pub use api_error::ApiError;
pub use client::Client;
pub use edu::Edu;
pub use keys::KeyRing;
pub use queue::Queues;
pub use raw_json::RawJson;
