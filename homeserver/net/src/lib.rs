//! The world as arguments: clock, timers, tasks, randomness, DNS and the guarded outbound HTTP client.
//!
//! Everything that is not a pure function of its arguments is reached through a [`World`]. [`World::real`] is this machine;
//! [`simulated::Simulation`] is several machines with a virtual clock and an in-process network, all from one seed, so that a run
//! can be repeated exactly. Elsewhere the ambient ways to the same things are banned by `clippy.toml`.
//!
//! What keeps a simulated run repeatable is the caller's part too: no `HashMap` iteration whose order shows, and `biased;` in
//! every `tokio::select!` (without it the macro draws lots from a generator that no seed reaches).
// This is the one place where the ambient clock, randomness, tasks and sockets of the real world are used.
#![allow(clippy::disallowed_methods)]

mod dns;
mod http;
mod real;
pub mod simulated;
mod tasks;
mod time;
mod world;

pub use crate::dns::{Answer, LookupError, Resolver, Srv};
pub use crate::http::{
    Connect, DEFAULT_BODY_TIMEOUT, DEFAULT_TIMEOUT, FailedAttempt, Http, MAX_REDIRECTS, OutboundRequest,
    OutboundResponse, Redirects, SendError,
};
pub use crate::real::{NameServers, RealOptions, StartError, TlsRoots};
pub use crate::tasks::{SeeThrough, TaskError, TaskHandle, Tasks};
pub use crate::time::{Clock, Elapsed, Sleep, Timestamp};
pub use crate::world::{Chance, Parts, Random, World};
