//! Push rules, and counting what is unread by them (client-server API, "Push notifications").

mod counts;
mod judge;
mod notifications;
mod rules;

pub use notifications::{DEFAULT_NOTIFICATIONS, MAX_NOTIFICATIONS};
pub use rules::RuleChange;

use crate::ephemeral::Ephemeral;
use crate::of_user::OfUser;
use bytes::Bytes;
use counts::{Counted, RoomContext};
use judge::Judged;
use lru::LruCache;
use parking_lot::Mutex;
use rules::Rules;
use state_res::ids::{EventKey, RoomKey, UserKey};
use std::num::NonZeroUsize;
use std::sync::Arc;
use storage::Store;

/// Users whose parsed rules are remembered.
const RULESETS: usize = 1_000;
/// Users whose default rules are kept as text.
const DEFAULTS: usize = 200;
/// Pairs of user and room whose counts are remembered.
const COUNTS: usize = 20_000;
/// Rooms kept in the form that rules are applied in.
const CONTEXTS: usize = 1_000;
/// Events kept in the form that rules are applied to.
const JUDGED: usize = 128;

/// What has been counted for a user in a room, behind a lock of its own, so that of two devices that wake at once one counts; `None` where
/// nothing is known.
type Entry = Arc<Mutex<Option<Counted>>>;

/// Push rules and unread counts.
pub struct Push {
    store: Store,
    ephemeral: Ephemeral,
    rulesets: OfUser<Rules>,
    /// The text of the default rules of users who have no others.
    defaults: Mutex<LruCache<UserKey, Bytes>>,
    counts: Mutex<LruCache<(UserKey, RoomKey), Entry>>,
    contexts: Mutex<LruCache<RoomKey, Arc<RoomContext>>>,
    judged: Mutex<LruCache<EventKey, Arc<Judged>>>,
}

impl Push {
    /// Rules and counts of the users whose data are in `store`.
    #[must_use]
    pub fn new(store: Store, ephemeral: Ephemeral) -> Self {
        let size = |size| NonZeroUsize::new(size).unwrap_or(NonZeroUsize::MIN);
        Self {
            ephemeral,
            rulesets: OfUser::new(store.clone(), RULESETS),
            defaults: Mutex::new(LruCache::new(size(DEFAULTS))),
            counts: Mutex::new(LruCache::new(size(COUNTS))),
            contexts: Mutex::new(LruCache::new(size(CONTEXTS))),
            judged: Mutex::new(LruCache::new(size(JUDGED))),
            store,
        }
    }
}
