//! When something last happened in each room, and which rooms each user has: so that a waking sync looks only where it must.
//!
//! Both are memory of what the store says, and never the reason to miss anything: a room with a commit under way counts as active,
//! and what was read while memberships changed is not remembered.

use super::memberships::{self, UserRoom};
use crate::error::Result;
use lru::LruCache;
use parking_lot::Mutex;
use state_res::ids::{RoomKey, UserKey};
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::{Position, Snapshot, Table};

/// Users whose rooms are remembered.
const USERS: usize = 2_000;

/// Last announcements by room, of the kind that one table keeps by `room, pos`.
pub struct Activity {
    table: Table,
    rooms: Mutex<HashMap<RoomKey, Room>>,
}

#[derive(Default, Clone, Copy)]
struct Room {
    /// Commits under way.
    open: u32,
    /// The last position known; `None` until the store was asked.
    last: Option<Position>,
}

impl Activity {
    /// Nothing known yet of what `table` holds.
    #[must_use]
    pub fn of(table: Table) -> Self {
        Self { table, rooms: Mutex::default() }
    }

    /// A commit in `room` is about to enter the log.
    pub fn begin(&self, room: RoomKey) {
        self.rooms.lock().entry(room).or_default().open += 1;
    }

    /// It has, at `position`, or has failed.
    pub fn end(&self, room: RoomKey, position: Option<Position>) {
        let mut rooms = self.rooms.lock();
        let entry = rooms.entry(room).or_default();
        entry.open = entry.open.saturating_sub(1);
        if let Some(position) = position {
            entry.last = Some(entry.last.unwrap_or(0).max(position));
        }
    }

    /// Whether something may have been announced in `room` after `since`, as seen at `snapshot`.
    pub fn may_have_changed(&self, snapshot: &Snapshot, room: RoomKey, since: Position) -> Result<bool> {
        if let Some(Room { open, last: Some(last) }) = self.rooms.lock().get(&room).copied() {
            return Ok(open > 0 || last > since);
        }
        let mut start = room.as_bytes().to_vec();
        let end = storage::key::prefix_end(&start);
        start.extend_from_slice(&[0; 8]);
        let last = match snapshot.scan_rev(self.table, start..end).next() {
            Some(row) => {
                let (key, _) = row?;
                key.get(16..24).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
            }
            None => 0,
        };
        let mut rooms = self.rooms.lock();
        let entry = rooms.entry(room).or_default();
        // A commit since the program began would have left its position here, so nothing has overtaken what was read.
        if entry.open == 0 && entry.last.is_none() {
            entry.last = Some(last);
        }
        Ok(last > since)
    }
}

/// The rooms of users.
pub struct UserRooms {
    inner: Mutex<Known>,
    epoch: AtomicU64,
}

struct Known {
    known: LruCache<UserKey, Arc<Vec<UserRoom>>>,
    /// Changes under way.
    open: HashMap<UserKey, u32>,
}

impl Default for UserRooms {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Known {
                known: LruCache::new(NonZeroUsize::new(USERS).unwrap_or(NonZeroUsize::MIN)),
                open: HashMap::new(),
            }),
            epoch: AtomicU64::new(0),
        }
    }
}

impl UserRooms {
    /// Memberships of these users are about to change.
    pub fn begin(&self, changing: &[UserKey]) {
        self.change(changing, |open, user| *open.entry(user).or_default() += 1);
    }

    /// They have, or have not.
    pub fn end(&self, changing: &[UserKey]) {
        self.change(changing, |open, user| {
            if let Some(count) = open.get_mut(&user) {
                *count -= 1;
                if *count == 0 {
                    open.remove(&user);
                }
            }
        });
    }

    fn change(&self, changing: &[UserKey], count: impl Fn(&mut HashMap<UserKey, u32>, UserKey)) {
        if changing.is_empty() {
            return;
        }
        let mut inner = self.inner.lock();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        for user in changing {
            inner.known.pop(user);
            count(&mut inner.open, *user);
        }
    }

    /// Counts changes; note it before a snapshot is taken.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The rooms of a user at a snapshot, from memory if they are known and have not changed since it was taken.
    pub fn peek(&self, snapshot: &Snapshot, user: UserKey) -> Result<Arc<Vec<UserRoom>>> {
        {
            let mut inner = self.inner.lock();
            if !inner.open.contains_key(&user)
                && let Some(rooms) = inner.known.get(&user)
                && rooms.iter().all(|room| room.position <= snapshot.position())
            {
                return Ok(Arc::clone(rooms));
            }
        }
        memberships::of_user(snapshot, user).map(Arc::new)
    }

    /// The rooms of a user at a snapshot that was taken when [`Self::epoch`] was `epoch`.
    pub fn of(&self, snapshot: &Snapshot, epoch: u64, user: UserKey) -> Result<Arc<Vec<UserRoom>>> {
        {
            let mut inner = self.inner.lock();
            if self.epoch() == epoch
                && !inner.open.contains_key(&user)
                && let Some(rooms) = inner.known.get(&user)
                && rooms.iter().all(|room| room.position <= snapshot.position())
            {
                return Ok(Arc::clone(rooms));
            }
        }
        let rooms = Arc::new(memberships::of_user(snapshot, user)?);
        let mut inner = self.inner.lock();
        if self.epoch() == epoch && !inner.open.contains_key(&user) {
            inner.known.put(user, Arc::clone(&rooms));
        }
        Ok(rooms)
    }
}
