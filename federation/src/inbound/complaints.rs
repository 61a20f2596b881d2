//! What is wrong with peers, logged once.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;

use crate::limits::MAX_COMPLAINTS;

/// Remembers what has been logged about whom, so that a peer cannot fill the log.
pub(super) struct Complaints {
    made: Mutex<LruCache<(String, &'static str), ()>>,
}

impl Default for Complaints {
    fn default() -> Self {
        Self { made: Mutex::new(LruCache::new(NonZeroUsize::new(MAX_COMPLAINTS).unwrap_or(NonZeroUsize::MIN))) }
    }
}

impl Complaints {
    /// Logs a complaint about a peer unless it is one of the latest [`MAX_COMPLAINTS`] already made.
    pub(super) fn about(&self, peer: &str, kind: &'static str, because: &dyn std::fmt::Display) {
        let is_new = self.made.lock().put((peer.to_owned(), kind), ()).is_none();
        if is_new {
            tracing::warn!(peer, kind, %because, "a peer's input is refused; further complaints of this kind about it go unlogged");
        }
    }
}
