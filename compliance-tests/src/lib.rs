//! A black-box suite and load tool for any Matrix homeserver.
//!
//! Nothing here calls the server's code: servers are processes, and everything is said over HTTP in raw JSON, so that this
//! package does not share the server's mistakes.
//!
//! - [`api`]: one account's view of a homeserver, in raw JSON.
//! - [`rig`]: processes on loopback: Causeway, a published Synapse, PostgreSQL, real clients, a test certificate authority.
//! - [`check`]: how a server answers bad input.
//! - [`peer`], [`event`]: another server, worked by hand, and the events that it makes.
//! - [`load`]: what a message, a delivery and a sync cost a server.

// These tools live in the real world: real clocks, real processes, real sockets on loopback.
#![allow(clippy::disallowed_methods)]

pub mod api;
pub mod check;
pub mod event;
pub mod load;
pub mod peer;
pub mod rig;
