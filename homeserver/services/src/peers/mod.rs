//! Other servers: receiving their events, filling gaps, joining rooms through them, and answering their questions.

mod answers;
mod backfill;
mod directory;
mod fetch;
mod genuine;
mod hierarchy;
mod history;
mod initial;
mod intent;
mod invite;
mod join;
mod judge;
mod key_store;
mod leave;
mod membership;
mod outliers;
mod questions;
mod queue_store;
mod receive;
mod relations;
mod remove;
mod state;
mod summary;
mod switches;
mod threads;
mod transaction;
mod transferred;
mod unanswered;
mod under_way;
mod upgrade;
mod verify;

pub use answers::PeerAnswers;
pub use hierarchy::{HierarchyRequest, MAX_PAGE as MAX_HIERARCHY_PAGE};
pub use history::{DEFAULT_PAGE, MessagesRequest};
pub use key_store::StoredKeys;
pub use queue_store::{AWAY_FOR, COMPACT_EVERY, MAX_WAITING_MESSAGES, MAX_WAITING_ROWS, StoredQueue};
pub use relations::RelationsRequest;
pub use summary::MutualRooms;
pub use switches::ReceiptCheck;
#[cfg(feature = "rule-switches")]
pub use switches::without_check;
pub use threads::{DEFAULT_THREADS, MAX_THREADS, ThreadsRequest};

use crate::ephemeral::Ephemeral;
use crate::error::Error;
use crate::rooms::Rooms;
use federation::client::{PeerError, RequestError};
use federation::{Client, KeyRing};
use lru::LruCache;
use net::World;
use parking_lot::Mutex;
use serde_json::Value;
use state_res::ids::{EventKey, RoomKey};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use under_way::UnderWay;

/// Rooms whose incoming events wait for one another.
const LOCKS: NonZeroUsize = NonZeroUsize::new(4_096).expect("4,096 is not 0");
/// How long after the beginning of a join its room's events wait for its end.
const MAX_JOIN_WAIT: Duration = Duration::from_secs(15);
/// Longest name of a room version that another server's error may name, in bytes.
const MAX_ROOM_VERSION: usize = 32;
/// Gaps whose fillers do.
const GAPS: NonZeroUsize = NonZeroUsize::new(4_096).expect("4,096 is not 0");

/// Locks by what they are for; the least recently used are forgotten.
type Locks<K> = Arc<Mutex<LruCache<K, Arc<tokio::sync::Mutex<()>>>>>;

/// Everything about other servers that concerns rooms. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    rooms: Rooms,
    ephemeral: Ephemeral,
    client: Client,
    ring: KeyRing,
    locks: Locks<RoomKey>,
    gaps: Locks<EventKey>,
    joins: UnderWay,
    removals: UnderWay,
}

impl Peers {
    /// Peers of the rooms in `rooms`, asked by `client`, their signatures checked with the keys of `ring`.
    #[must_use]
    pub fn new(rooms: Rooms, ephemeral: Ephemeral, client: Client, ring: KeyRing) -> Self {
        let locks = Arc::new(Mutex::new(LruCache::new(LOCKS)));
        let gaps = Arc::new(Mutex::new(LruCache::new(GAPS)));
        Self { rooms, ephemeral, client, ring, locks, gaps, joins: UnderWay::default(), removals: UnderWay::default() }
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

    /// If a join to a room that we are not in has just begun, waits for its end: until then its events find no room. Not for long, as all that
    /// the same server sends waits with them; what it has sent in vain is fetched when it follows up.
    async fn wait_for_join(&self, room_id: &str) -> crate::error::Result<()> {
        while let Some((began, mut ending)) = self.joins.ending(RoomKey::of(room_id)) {
            if self.rooms.is_resident(room_id)? {
                break;
            }
            let waited = Duration::from_millis(self.world().now().millis().saturating_sub(began));
            let Some(left) = MAX_JOIN_WAIT.checked_sub(waited).filter(|left| !left.is_zero()) else { break };
            if !matches!(self.world().timeout(left, ending.changed()).await, Ok(Ok(()))) {
                break;
            }
        }
        Ok(())
    }

    /// Incoming events of one room are placed one after the other, so that each finds what those before it brought. Nobody holds it while
    /// another server is asked.
    fn lock(&self, room: RoomKey) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.locks.lock().get_or_insert(room, Arc::default))
    }
}

/// What a client is told of a failed request to another server: where it was refused, the other server's code and words, which are said to be its,
/// and what clients go by. Both are bounded.
pub(crate) fn remote_error(error: &RequestError) -> Error {
    match error {
        RequestError::Peer { destination, error: peer } if is_for_clients(peer) => {
            let message = if peer.message.is_empty() {
                format!("{destination} answered {} and does not say why.", peer.errcode)
            } else {
                format!("{destination} answered: {}", peer.message)
            };
            let mut told = Error { status: peer.status, errcode: peer.errcode.clone().into(), message, extra: None };
            if let Some(time) = peer.retry_after_ms() {
                told = told.with("retry_after_ms", time);
            }
            let version = peer.body.get("room_version").and_then(Value::as_str);
            match version.filter(|version| version.len() <= MAX_ROOM_VERSION) {
                Some(version) => told.with("room_version", version),
                None => told,
            }
        }
        _ => {
            tracing::info!(%error, "another server could not be asked");
            Error::new(502, "M_UNKNOWN", format!("The other server could not be asked: {}.", error.for_others()))
        }
    }
}

/// The same for an event that we made: what is wrong with it is no mistake of the client's.
pub(crate) fn remote_refusal(error: &RequestError) -> Error {
    let told = remote_error(error);
    if matches!(told.errcode.as_ref(), "M_INVALID_PARAM" | "M_MISSING_PARAM" | "M_BAD_JSON") {
        return Error::new(502, "M_UNKNOWN", format!("The other server does not take the event: {}", told.message));
    }
    told
}

/// Whether this is a refusal that says something about what the client wanted.
pub(crate) fn is_for_clients(peer: &PeerError) -> bool {
    (400..500).contains(&peer.status) && peer.status != 401 && !is_about_asker(&peer.errcode)
}

/// Whether this code speaks of who asked: what another server says of accounts and tokens is not about the client's, which would sign its user
/// out, or take them for locked out.
pub(crate) fn is_about_asker(errcode: &str) -> bool {
    ["M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_USER_LOCKED", "M_USER_SUSPENDED", "M_USER_DEACTIVATED"].contains(&errcode)
}
