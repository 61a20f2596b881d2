//! What a device that goes takes along.

use super::announce::{Update, announce};
use super::device_prefix;
use crate::error::Result;
use crate::rooms::user_topic;
use crate::tables;
use state_res::ids::UserKey;
use storage::{Batch, Snapshot, key};

/// Adds to `batch` the end of a device's keys and of what waits for it.
pub(crate) fn removed(batch: &mut Batch, user_id: &str, device_id: &str) {
    let prefix = device_prefix(UserKey::of(user_id), device_id);
    batch.delete(tables::DEVICE_KEYS, &prefix);
    batch.delete(tables::KEY_STATE, &prefix);
    batch.topic(user_topic(UserKey::of(user_id)));
    let several = [tables::ONE_TIME_KEYS, tables::CLAIMED_KEYS, tables::FALLBACK_KEYS, tables::TO_DEVICE];
    for table in several {
        batch.delete_range(table, &prefix, &key::prefix_end(&prefix));
    }
}

/// Adds to `batch` that those who share a room with the user learn that these devices are gone.
///
/// # Errors
///
/// 500 if the store fails.
pub(crate) fn removed_from_list<'a>(
    batch: &mut Batch,
    snapshot: &Snapshot,
    user_id: &str,
    device_ids: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let mut updates = Vec::new();
    for device_id in device_ids {
        let had_keys = snapshot.contains(tables::DEVICE_KEYS, &device_prefix(UserKey::of(user_id), device_id))?;
        updates.push(Update::Removed { device_id: device_id.to_owned(), had_keys });
    }
    announce(batch, snapshot, user_id, updates)
}
