//! The signed client: one method per endpoint of the protocol.

mod directory;
mod error;
mod events;
mod joining;
pub mod keys;
mod path;
mod policy;
mod request;
mod routes;
mod transactions;
mod users;

use std::{sync::Arc, time::Duration};

use net::World;

use crate::keys::OwnKeys;

pub use error::{PeerError, RequestError};
pub use path::Path;
pub use request::{Answer, Request};
pub use routes::{Route, RouteError, Routes, Scheme};

/// How long a peer has to begin its answer, where nothing else is said.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// How long a peer has to take in a transaction.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a peer has to work out the state of a room.
pub const STATE_TIMEOUT: Duration = Duration::from_secs(180);

/// Asks other servers, in our name. Cheap to clone.
///
/// Every method takes the server name to ask first. An answer with an error status is [`RequestError::Peer`], with the peer's status and
/// code.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    world: World,
    keys: Arc<OwnKeys>,
    routes: Arc<dyn Routes>,
}

impl Client {
    /// A client that signs with these keys and finds servers through `routes`.
    pub fn new(world: World, keys: Arc<OwnKeys>, routes: Arc<dyn Routes>) -> Self {
        Self { inner: Arc::new(Inner { world, keys, routes }) }
    }

    /// Our own server name.
    pub fn server_name(&self) -> &str {
        &self.inner.keys.server_name
    }
}
