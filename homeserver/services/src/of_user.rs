//! What follows from a user's own data (account data, memberships, receipts), remembered until their topic is touched.

use crate::error::Result;
use crate::rooms::user_topic;
use lru::LruCache;
use parking_lot::Mutex;
use state_res::ids::UserKey;
use std::num::NonZeroUsize;
use storage::{Position, Snapshot, Store};

/// Something of each of the users who came last. Every batch that changes what it follows from has to name the user's topic.
pub(crate) struct OfUser<V> {
    store: Store,
    known: Mutex<LruCache<UserKey, (Position, V)>>,
}

impl<V: Clone> OfUser<V> {
    /// Nothing known yet of anybody; remembers it of so many `users`.
    #[must_use]
    pub(crate) fn new(store: Store, users: usize) -> Self {
        Self { store, known: Mutex::new(LruCache::new(NonZeroUsize::new(users).unwrap_or(NonZeroUsize::MIN))) }
    }

    /// What `read` gives for a user at `snapshot`, from memory if the user's topic has not been touched since it was read. `read` gets what
    /// was known last, which may be right still.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn get(
        &self,
        snapshot: &Snapshot,
        user: UserKey,
        read: impl FnOnce(Option<V>) -> Result<V>,
    ) -> Result<V> {
        // The snapshot was taken before, so that it holds no change that the topic does not show yet.
        let touched = self.store.untouched_since(user_topic(user));
        let former = self.known.lock().get(&user).cloned();
        if let Some((as_of, value)) = &former
            && touched <= *as_of
            && *as_of <= snapshot.position()
        {
            return Ok(value.clone());
        }
        let value = read(former.map(|(_, value)| value))?;
        let mut known = self.known.lock();
        if known.peek(&user).is_none_or(|(as_of, _)| *as_of < snapshot.position()) {
            known.put(user, (snapshot.position(), value.clone()));
        }
        Ok(value)
    }
}
