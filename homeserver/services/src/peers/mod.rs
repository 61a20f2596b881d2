//! Other servers: receiving their events, filling gaps, joining rooms through them, and answering their questions.

mod answers;
mod backfill;
mod directory;
mod fetch;
mod history;
mod invite;
mod join;
mod key_store;
mod membership;
mod outliers;
mod questions;
mod queue_store;
mod receive;
mod verify;

pub use answers::PeerAnswers;
pub use history::{DEFAULT_PAGE, MessagesRequest, RelationsRequest};
pub use key_store::StoredKeys;
pub use queue_store::StoredQueue;

use crate::ephemeral::Ephemeral;
use crate::error::Error;
use crate::rooms::Rooms;
use federation::client::RequestError;
use federation::{Client, KeyRing};
use lru::LruCache;
use net::World;
use parking_lot::Mutex;
use state_res::ids::RoomKey;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Rooms whose incoming events wait for one another.
const LOCKS: usize = 4_096;

/// Everything about other servers that concerns rooms. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    rooms: Rooms,
    ephemeral: Ephemeral,
    client: Client,
    ring: KeyRing,
    locks: Arc<Mutex<LruCache<RoomKey, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Peers {
    /// Peers of the rooms in `rooms`, asked by `client`, their signatures checked with the keys of `ring`.
    #[must_use]
    pub fn new(rooms: Rooms, ephemeral: Ephemeral, client: Client, ring: KeyRing) -> Self {
        let size = NonZeroUsize::new(LOCKS).unwrap_or(NonZeroUsize::MIN);
        Self { rooms, ephemeral, client, ring, locks: Arc::new(Mutex::new(LruCache::new(size))) }
    }

    fn world(&self) -> &World {
        &self.rooms.deps().world
    }

    fn server_name(&self) -> &str {
        &self.rooms.deps().server_name
    }

    /// The client, for questions to other servers.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Incoming events of one room are taken one after the other, so that each finds what those before it brought.
    fn lock(&self, room: RoomKey) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.locks.lock().get_or_insert(room, Arc::default))
    }
}

/// What a client is told of a failed request to another server.
pub(crate) fn remote_error(error: &RequestError) -> Error {
    match error.peer() {
        Some(peer) if (400..500).contains(&peer.status) && peer.status != 401 => {
            let api = peer.to_api_error();
            Error { status: api.status, errcode: api.errcode, message: api.message, extra: api.extra }
        }
        _ => Error::new(502, "M_UNKNOWN", format!("The other server could not be asked: {error}.")),
    }
}
