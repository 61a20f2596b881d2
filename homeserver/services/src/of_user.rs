//! What follows from a user's own data (account data, memberships, receipts), remembered until their topic is touched.

use crate::error::Result;
use crate::rooms::user_topic;
use quick_cache::sync::Cache;
use state_res::ids::UserKey;
use std::hash::Hash;
use storage::{Position, Snapshot, Store};

/// Something of each of the users who came last, or of their devices, by `K`. Every batch that changes what it follows from has to name
/// the user's topic.
pub(crate) struct OfUser<V, K = UserKey> {
    store: Store,
    known: Cache<K, (Position, V)>,
}

impl<V: Clone, K: Hash + Eq + Clone> OfUser<V, K> {
    /// Nothing known yet of anybody; remembers it of so `many`.
    #[must_use]
    pub(crate) fn new(store: Store, many: usize) -> Self {
        Self { store, known: Cache::new(many) }
    }

    /// What `read` gives for `key`, which is a user or of theirs, at `snapshot`: from memory if the user's topic has not been touched since
    /// it was read. `read` gets what was known last, which may be right still.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn get(
        &self,
        snapshot: &Snapshot,
        user: UserKey,
        key: &K,
        read: impl FnOnce(Option<V>) -> Result<V>,
    ) -> Result<V> {
        // The snapshot was taken before, so that it holds no change that the topic does not show yet.
        let touched = self.store.untouched_since(user_topic(user));
        let former = self.known.get(key);
        if let Some((as_of, value)) = &former
            && touched <= *as_of
            && *as_of <= snapshot.position()
        {
            return Ok(value.clone());
        }
        let value = read(former.map(|(_, value)| value))?;
        if self.known.peek(key).is_none_or(|(as_of, _)| as_of < snapshot.position()) {
            self.known.insert(key.clone(), (snapshot.position(), value.clone()));
        }
        Ok(value)
    }
}
