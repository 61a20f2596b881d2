//! Rooms of which something stored cannot be read: a block of a file that the disk has lost, a row that was damaged. Whoever looks at many
//! rooms leaves such a room out, and goes on.

use super::memberships::UserRoom;
use crate::error::Result;
use lru::LruCache;
use net::World;
use parking_lot::Mutex;
use state_res::ids::RoomKey;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::subscriber::NoSubscriber;

/// Rooms of which it is remembered that the log has been told.
const ROOMS: usize = 1_000;
/// How often the log is told of one room.
const TELL_EVERY: Duration = Duration::from_secs(600);

/// The rooms that could not be read of late, and when the log was told so.
pub struct Unreadable {
    told: Mutex<LruCache<RoomKey, Duration>>,
    /// Whether there are any: there hardly ever are, and every sync asks, for each room.
    any: AtomicBool,
}

impl Default for Unreadable {
    fn default() -> Self {
        let told = LruCache::new(NonZeroUsize::new(ROOMS).unwrap_or(NonZeroUsize::MIN));
        Self { told: Mutex::new(told), any: AtomicBool::new(false) }
    }
}

impl Unreadable {
    /// What `work` finds in a room; `None` if the room cannot be read. The log is told why, now and then.
    ///
    /// # Errors
    /// What is no fault of the server's.
    pub fn attempt<R>(&self, world: &World, room: &UserRoom, work: impl FnOnce() -> Result<R>) -> Result<Option<R>> {
        let any = self.any.load(Ordering::Relaxed);
        let told = if any { self.told.lock().peek(&room.room).copied() } else { None };
        let is_known = told.is_some_and(|told| world.monotonic().saturating_sub(told) < TELL_EVERY);
        // Each row that cannot be read is an error of its own in the log, and clients ask again every few seconds.
        let result = if is_known { tracing::subscriber::with_default(NoSubscriber::new(), work) } else { work() };
        match result {
            Err(error) if error.status >= 500 => {
                if !is_known {
                    self.told.lock().put(room.room, world.monotonic());
                    self.any.store(true, Ordering::Relaxed);
                    tracing::error!(
                        room = room.room_id,
                        "what is stored about this room cannot be read (see the error before this one): it is left out of syncs until it can"
                    );
                }
                Ok(None)
            }
            Err(error) => Err(error),
            Ok(found) => {
                if told.is_some() {
                    let mut told = self.told.lock();
                    told.pop(&room.room);
                    self.any.store(!told.is_empty(), Ordering::Relaxed);
                    tracing::info!(room = room.room_id, "this room can be read again");
                }
                Ok(Some(found))
            }
        }
    }
}
