//! The row at which those who upload and claim a device's one-time keys meet.

use super::device_prefix;
use crate::accounts::{Versioned, record};
use crate::error::Result;
use crate::rooms::user_topic;
use crate::tables;
use serde::{Deserialize, Serialize};
use state_res::ids::UserKey;
use std::collections::BTreeMap;
use storage::{Batch, Snapshot};

/// A row of `KEY_STATE`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyState {
    /// Grows with every change, so that no two values of the row are ever equal.
    revision: u64,
    /// The number of the next one-time key.
    pub(super) next: u64,
    /// One-time keys left, by algorithm.
    pub(super) counts: BTreeMap<String, u64>,
    /// Algorithms with a fallback key, and whether it has been used.
    pub(super) fallback_used: BTreeMap<String, bool>,
}

impl KeyState {
    /// The row of a device; `None` if it never uploaded such keys.
    pub(super) fn read(snapshot: &Snapshot, user: UserKey, device_id: &str) -> Result<Option<Versioned<Self>>> {
        record::read(snapshot, tables::KEY_STATE, &device_prefix(user, device_id))
    }

    /// Algorithms whose fallback key has not been used.
    pub(super) fn unused_fallback_keys(&self) -> Vec<String> {
        self.fallback_used.iter().filter(|(_, used)| !**used).map(|(algorithm, _)| algorithm.clone()).collect()
    }

    /// Adds to `batch` that the row of a device, as `before` had it, becomes this.
    pub(super) fn write(mut self, batch: &mut Batch, user: UserKey, device_id: &str, before: Option<&Versioned<Self>>) {
        let key = device_prefix(user, device_id);
        match before {
            Some(before) => batch.require_version(tables::KEY_STATE, &key, before.version),
            None => batch.require_absent(tables::KEY_STATE, &key),
        };
        self.revision += 1;
        self.counts.retain(|_, count| *count > 0);
        batch.put(tables::KEY_STATE, &key, &record::to_bytes(&self));
        batch.topic(user_topic(user));
    }
}
