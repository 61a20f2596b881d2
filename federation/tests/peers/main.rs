//! Servers that ask and answer each other over the real routes: in a simulation with virtual time, and over loopback.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, unreachable_pub)]

mod keys;
mod loopback;
mod queues;
mod requests;
mod rig;
mod transactions;
