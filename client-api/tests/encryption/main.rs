//! End-to-end encryption, and what else two servers tell each other's clients, through HTTP requests to the router: keys, cross-signing, device lists, to-device messages, backups.
#![allow(clippy::unwrap_used, clippy::panic)]

mod actions;
mod backup;
mod cross_signing;
mod device_lists;
mod federation;
mod one_time_keys;
mod other_servers;
#[allow(dead_code)] // shared with the tests of accounts, which need the rest
#[path = "../accounts/server.rs"]
mod server;
mod to_device;
