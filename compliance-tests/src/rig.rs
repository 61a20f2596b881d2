//! Processes on loopback: homeservers, their database, real clients, and a certificate authority that they trust.

mod authority;
mod causeway;
mod client;
mod network;
mod ports;
mod postgres;
mod process;
mod server;
mod synapse;

pub use authority::Authority;
pub use causeway::build_causeway;
pub use client::{Client, Library};
pub use network::Network;
pub use ports::free_port;
pub use postgres::Postgres;
pub use process::Process;
pub use server::{Kind, Server, ServerOptions};
