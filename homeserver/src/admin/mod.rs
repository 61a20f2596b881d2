//! `causeway user …` and `causeway room …`: the same requests beside a running server, through a socket in the data directory, and without one,
//! on the store itself.

mod client;
mod operate;
mod password;
mod protocol;
mod purge;
mod socket;

pub(crate) use client::{run, run_room};
pub(crate) use socket::Socket;
