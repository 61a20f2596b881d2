//! End-to-end encryption, as far as servers see it: device keys, one-time keys, cross-signing, device lists, to-device
//! messages, room key backups (client-server API, "End-to-End Encryption", "Send-to-Device messaging").
//!
//! One file per concern; each adds its methods to [`Keys`].

pub(crate) mod announce;
mod backup;
mod backup_keys;
mod changes;
mod claim;
mod cross_signing;
mod object;
mod query;
mod remote;
mod removal;
mod signatures;
mod state;
mod to_device;
mod upload;

pub(crate) use announce::introduce;
pub use backup::{Backup, BackupDescription, BackupState};
pub use backup_keys::{BackedUpKey, BackupPart, RoomKeys};
pub use claim::KeyClaimAnswer;
pub use cross_signing::CrossSigningUpload;
pub use query::{DEFAULT_TIMEOUT, KeyQueryAnswer, MAX_TIMEOUT};
pub(crate) use removal::{removed, removed_from_list};
pub use signatures::SignatureUpload;
pub use to_device::{MAX_MESSAGE_BYTES, ToDeviceMessages};
pub use upload::KeyUpload;

use crate::accounts::Session;
use crate::error::{Error, Result};
use crate::of_user::OfUser;
use crate::rooms::Rooms;
use crate::sync::{DeviceFeed, DeviceListChanges, LeftOut, Looking, SyncToken};
use async_trait::async_trait;
use federation::Client;
use lru::LruCache;
use net::World;
use parking_lot::Mutex;
use serde_json::json;
use state_res::ids::UserKey;
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use storage::{Position, Snapshot, Store, key};
use tokio::sync::Semaphore;

/// Users whose writers wait for one another.
const LOCKS: usize = 4_096;

/// Devices of which it is known that no messages wait for them.
const DEVICES: usize = 10_000;

/// Keys, device lists and to-device messages of our users, and what is cached of others'.
pub struct Keys {
    store: Store,
    world: World,
    server_name: String,
    rooms: Rooms,
    /// Who asks other servers; nobody until federation has started.
    client: OnceLock<Client>,
    locks: Mutex<LruCache<UserKey, Arc<tokio::sync::Mutex<()>>>>,
    /// By device, what a sync says of its keys.
    counts: OfUser<Arc<str>, Vec<u8>>,
    /// The day up to which remembered to-device EDUs were swept.
    swept: Mutex<u32>,
    /// Users of other servers whose stale lists are being fetched.
    resyncing: Mutex<HashSet<UserKey>>,
    resync_permits: Semaphore,
}

impl Keys {
    /// Keys of the users of `server_name` in `store`.
    #[must_use]
    pub fn new(store: Store, world: World, server_name: &str, rooms: Rooms) -> Self {
        Self {
            world,
            server_name: server_name.to_owned(),
            rooms,
            client: OnceLock::new(),
            locks: Mutex::new(LruCache::new(NonZeroUsize::new(LOCKS).unwrap_or(NonZeroUsize::MIN))),
            counts: OfUser::new(store.clone(), DEVICES),
            swept: Mutex::new(0),
            resyncing: Mutex::default(),
            resync_permits: Semaphore::new(remote::RESYNCS_AT_ONCE),
            store,
        }
    }

    /// Gives the client with which other servers are asked. Until then they count as unreachable; a second one is ignored.
    pub fn connect(&self, client: Client) {
        let _ = self.client.set(client);
    }

    /// `GET /keys/changes`: users whose device lists changed since a sync token, and users with whom the user shares no room any more.
    /// Changes are told up to now, whatever end the client names: what came later would only be asked for again.
    ///
    /// # Errors
    ///
    /// 400 `M_INVALID_PARAM` for text that is no sync token.
    pub fn changes(&self, user_id: &str, from: &str, to: &str) -> Result<(Vec<String>, Vec<String>)> {
        let incarnation = self.store.incarnation();
        let to = SyncToken::decode(to, incarnation)?;
        // A token from before the data were restored from a backup: everything may have changed.
        let from = SyncToken::decode(from, incarnation)?.map_or(0, |token| token.position);
        let snapshot = self.store.snapshot();
        let now = snapshot.position();
        let until = to.map_or(now, |token| token.position.min(now));
        if from >= until {
            return Ok((Vec::new(), Vec::new()));
        }
        let rooms = Looking { since: &LeftOut::new(), without: &LeftOut::new() };
        let DeviceListChanges { changed, left, unreadable } =
            changes::device_lists(&self.rooms, &snapshot, user_id, from, until, &rooms)?;
        if !unreadable.is_empty() {
            return Err(Error::internal("members of a room of the user's cannot be read"));
        }
        Ok((changed, left))
    }

    /// Whether the user is of this server, going by the name alone.
    fn is_local(&self, user_id: &str) -> bool {
        crate::names::server_of(user_id) == Some(self.server_name.as_str())
    }

    /// A fair queue of those who write to one user's keys. Preconditions make their batches correct; the queue keeps them from
    /// conflicting over and over.
    fn queue(&self, user: UserKey) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.locks.lock().get_or_insert(user, Arc::default))
    }
}

#[async_trait]
impl DeviceFeed for Keys {
    fn to_device(
        &self,
        snapshot: &Snapshot,
        user_id: &str,
        device_id: &str,
        since: Position,
        until: Position,
    ) -> Result<(Vec<String>, Position)> {
        to_device::pending(snapshot, user_id, device_id, since, until)
    }

    async fn acknowledge(&self, session: &Session, position: Position) -> Result<()> {
        self.acknowledge_to_device(session, position).await
    }

    fn device_lists(
        &self,
        snapshot: &Snapshot,
        user_id: &str,
        since: Position,
        until: Position,
        rooms: &Looking<'_>,
    ) -> Result<DeviceListChanges> {
        changes::device_lists(&self.rooms, snapshot, user_id, since, until, rooms)
    }

    fn key_counts(&self, snapshot: &Snapshot, user_id: &str, device_id: &str) -> Result<Arc<str>> {
        let user = UserKey::of(user_id);
        self.counts.get(snapshot, user, &device_prefix(user, device_id), |_| {
            let state = state::KeyState::read(snapshot, user, device_id)?.map(|state| state.value).unwrap_or_default();
            let unused = state.unused_fallback_keys();
            let mut counts = state.counts;
            // Clients upload new keys when they see none left, not when they see nothing.
            counts.entry("signed_curve25519".to_owned()).or_insert(0);
            let (counts, unused) = (json!(counts), json!(unused));
            Ok(format!("\"device_one_time_keys_count\":{counts},\"device_unused_fallback_key_types\":{unused}").into())
        })
    }
}

/// The key of a device in the tables that have a row per device, and the prefix of its rows in those that have more.
fn device_prefix(user: UserKey, device_id: &str) -> Vec<u8> {
    key::Writer::new().id16(user.as_bytes()).str(device_id).finish()
}
