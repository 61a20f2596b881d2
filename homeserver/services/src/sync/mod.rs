//! `GET /sync`: everything that happened since a token, at once or as soon as something does.
//!
//! An answer is computed from one snapshot; the token it carries names that snapshot's position. A waiting client subscribes to its own
//! topic and those of its rooms *before* the snapshot is taken, so that what the snapshot lacks wakes it.

mod answer;
mod room;
mod timeline;
mod token;

pub(crate) use answer::ignored_users;
pub use room::{RoomSync, STRIPPED_TYPES, stripped_state};
pub use token::{LeftOut, MAX_LEFT_OUT, SyncToken};

use crate::accounts::Session;
use crate::accounts::filters::SyncFilter;
use crate::ephemeral::Ephemeral;
use crate::error::Result;
use crate::of_user::OfUser;
use crate::rooms::visibility::Viewer;
use crate::rooms::{self, Membership, Rooms};
use answer::{Answer, Look};
use async_trait::async_trait;
use bytes::Bytes;
use state_res::ids::{RoomKey, UserKey};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;
use storage::{Position, Snapshot, Topic};

/// Longest time that a client may wait.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(180);

/// Users of whom it is remembered whom they ignore.
const USERS: usize = 4_000;

/// Who syncs, and how.
#[derive(Debug, Clone)]
pub struct SyncRequest {
    /// The user.
    pub user_id: String,
    /// Their device.
    pub device_id: String,
    /// What lets them ask: a wait ends with it.
    pub session: Arc<Session>,
    /// What to leave out.
    pub filter: Arc<SyncFilter>,
    /// The token of the last answer.
    pub since: Option<String>,
    /// Tell all state.
    pub full_state: bool,
    /// State at the end of the timeline.
    pub state_after: bool,
    /// How long to wait.
    pub timeout: Duration,
}

/// What is kept for a device apart from rooms: to-device messages, device lists, keys.
#[async_trait]
pub trait DeviceFeed: Send + Sync {
    /// To-device messages for a device after `since` and up to `until`, each as JSON text, and the position up to which they are complete
    /// (`until`, unless there were too many).
    fn to_device(
        &self,
        snapshot: &Snapshot,
        user_id: &str,
        device_id: &str,
        since: Position,
        until: Position,
    ) -> Result<(Vec<String>, Position)>;

    /// The session's device has received everything up to `position`.
    async fn acknowledge(&self, session: &Session, position: Position) -> Result<()>;

    /// Users of other people's (and the user's own) device lists that changed after `since` and up to `until`, among those who share a
    /// room with the user; and those who share none any more.
    fn device_lists(
        &self,
        snapshot: &Snapshot,
        user_id: &str,
        since: Position,
        until: Position,
        rooms: &Looking<'_>,
    ) -> Result<DeviceListChanges>;

    /// One-time keys left by algorithm, and algorithms with an unused fallback key: `"device_one_time_keys_count":{…},
    /// "device_unused_fallback_key_types":[…]`, without braces around them.
    fn key_counts(&self, snapshot: &Snapshot, user_id: &str, device_id: &str) -> Result<Arc<str>>;
}

/// Rooms that are looked at otherwise than the rest.
#[derive(Debug, Clone, Copy)]
pub struct Looking<'a> {
    /// Since when a room is to be looked at, where that is earlier.
    pub since: &'a LeftOut,
    /// Not at these.
    pub without: &'a LeftOut,
}

/// What a client that keeps other users' device lists has to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceListChanges {
    /// Users whose lists it has to ask for again.
    pub changed: Vec<String>,
    /// Users whose lists it can forget.
    pub left: Vec<String>,
    /// Rooms that could not be looked at.
    pub unreadable: BTreeSet<RoomKey>,
}

/// Counts of what a user has not read in a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unread {
    /// Notifications (outside threads, where threads are counted apart).
    pub notifications: u64,
    /// Of those, highlights.
    pub highlights: u64,
    /// By thread root: notifications, highlights.
    pub threads: BTreeMap<String, (u64, u64)>,
    /// As of where the user's rules, or whom they ignore, last made other counts of the same events; 0 if they never did. Later than it was where
    /// that is not remembered.
    pub judged_anew: Position,
}

/// Who counts what is unread.
pub trait UnreadCounts: Send + Sync {
    /// The counts of a user who is joined to a room and ignores others, threads apart if `by_thread`.
    fn unread(&self, viewer: &Viewer<'_>, ignored: &Arc<HashSet<String>>, by_thread: bool) -> Result<Unread>;

    /// The content of `m.push_rules` for a user whose account data do not say it: the default rules.
    fn default_rules(&self, snapshot: &Snapshot, user_id: &str) -> Result<Option<Bytes>>;
}

/// Answers syncs. Cheap to clone.
#[derive(Clone)]
pub struct Syncs {
    rooms: Rooms,
    ephemeral: Ephemeral,
    devices: Arc<dyn DeviceFeed>,
    unread: Arc<dyn UnreadCounts>,
    ignored: Arc<OfUser<Arc<HashSet<String>>>>,
    /// Ends waits when the server stops.
    stopping: tokio_util::sync::CancellationToken,
}

impl Syncs {
    /// Syncs of the users of `rooms`.
    #[must_use]
    pub fn new(
        rooms: Rooms,
        ephemeral: Ephemeral,
        devices: Arc<dyn DeviceFeed>,
        unread: Arc<dyn UnreadCounts>,
        stopping: tokio_util::sync::CancellationToken,
    ) -> Self {
        let ignored = Arc::new(OfUser::new(rooms.deps().store.clone(), USERS));
        Self { rooms, ephemeral, devices, unread, ignored, stopping }
    }

    /// Answers a sync: JSON text.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` for a bad token, 401 `M_UNKNOWN_TOKEN` if the session ends while the client waits.
    pub async fn sync(&self, request: &SyncRequest) -> Result<Vec<u8>> {
        let store = &self.rooms.deps().store;
        let world = &self.rooms.deps().world;
        let since = match request.since.as_deref() {
            None | Some("") => None,
            Some(text) => SyncToken::decode_whole(text, store.incarnation())?,
        };
        let (since, left_out) = since.unzip();
        let left_out = left_out.unwrap_or_default();
        // A token from before a crash that lost logged positions lies ahead of the log: nothing it saw is missing, so it counts as now.
        let since = since.map(|token| SyncToken {
            position: token.position.min(store.position()),
            to_device: token.to_device.min(store.position()),
            ..token
        });
        if let Some(since) = since {
            self.devices.acknowledge(&request.session, since.to_device).await?;
        }
        let user = UserKey::of(&request.user_id);
        let deadline = world.monotonic() + request.timeout.min(MAX_TIMEOUT);
        let wait = since.is_some() && !request.full_state && !request.timeout.is_zero();
        if !wait {
            return self.answer(request, user, since, &left_out).map(|answer| answer.json);
        }
        loop {
            let mut changes = store.subscribe(&self.topics(user)?);
            // Most long polls come back right after the last answer, and there is nothing to look for: what comes later wakes.
            let mut nothing_new = left_out.is_empty() && self.nothing_new(since, changes.untouched_since());
            // Subscribed to the rooms as they were a moment ago; a change of rooms wakes by the user's own topic.
            loop {
                if !std::mem::take(&mut nothing_new) {
                    let answer = self.answer(request, user, since, &left_out)?;
                    if !answer.is_empty || world.monotonic() >= deadline {
                        return Ok(answer.json);
                    }
                }
                let left = deadline.saturating_sub(world.monotonic());
                let woken = tokio::select! {
                    biased;
                    () = self.stopping.cancelled() => false,
                    changed = world.timeout(left, changes.changed()) => changed.is_ok(),
                };
                request.session.must_last(store)?;
                if !woken {
                    // One last look, so that the token is as fresh as can be.
                    return self.answer(request, user, since, &left_out).map(|answer| answer.json);
                }
                if self.rooms_changed(user, since)? {
                    break;
                }
            }
        }
    }

    /// Whether a client that has this token has all there is, where nothing it follows has been touched after `untouched_since`.
    fn nothing_new(&self, since: Option<SyncToken>, untouched_since: Position) -> bool {
        since.is_some_and(|since| {
            since.position >= untouched_since
                && since.to_device >= since.position
                && since.volatile >= self.ephemeral.serial()
        })
    }

    /// Whether the user's memberships changed since the token, so that other topics matter.
    fn rooms_changed(&self, user: UserKey, since: Option<SyncToken>) -> Result<bool> {
        let deps = self.rooms.deps();
        if since.is_some_and(|since| deps.store.untouched_since(rooms::user_topic(user)) <= since.position) {
            return Ok(false);
        }
        let epoch = deps.user_rooms.epoch();
        let rooms = deps.user_rooms.of(&deps.store.snapshot(), epoch, user)?;
        Ok(since.is_none_or(|since| rooms.iter().any(|room| room.position > since.position)))
    }

    fn topics(&self, user: UserKey) -> Result<Vec<Topic>> {
        let deps = self.rooms.deps();
        let epoch = deps.user_rooms.epoch();
        let rooms = deps.user_rooms.of(&deps.store.snapshot(), epoch, user)?;
        let mut topics = vec![rooms::user_topic(user)];
        topics.extend(
            rooms.iter().filter(|room| room.membership == Membership::Join).map(|room| rooms::topic(room.room)),
        );
        Ok(topics)
    }

    fn answer(
        &self,
        request: &SyncRequest,
        user: UserKey,
        since: Option<SyncToken>,
        left_out: &LeftOut,
    ) -> Result<Answer> {
        Look::new(self, request, user, since, left_out)?.answer()
    }
}
