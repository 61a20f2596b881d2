//! The program `causeway-state`, run as others run it.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub)]

mod auth;
mod broken;
mod event;
mod graph;
mod help;
mod keys;
mod output;
mod resolve;
mod support;
