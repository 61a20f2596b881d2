//! Listeners: what comes in over HTTP, and how each request is observed.

mod address;
mod connection;
mod listener;
mod observe;

pub(crate) use address::Proxies;
pub(crate) use connection::{Connections, Traits};
pub(crate) use listener::{Listener, Protocol};
pub(crate) use observe::{Observer, Observing};
