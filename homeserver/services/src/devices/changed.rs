//! What follows from a change in a user's list of devices. The one place to add to, whoever keeps something per device.

use crate::{
    Result, keys,
    keys::announce::{Update, announce},
    rooms::user_topic,
    tables,
};
use state_res::ids::UserKey;
use storage::{Batch, Snapshot};

/// Adds to `batch` what follows when one of our users' devices is added: the user's own syncs wake, and other servers hear of it. Clients do when
/// it uploads its identity keys, for without them they can do nothing with it.
///
/// # Errors
///
/// 500 if the store fails.
pub fn added(batch: &mut Batch, snapshot: &Snapshot, user_id: &str, device_id: &str) -> Result<()> {
    changed(batch, user_id);
    announce(batch, snapshot, user_id, vec![Update::Device { device_id: device_id.to_owned(), keys: None }])
}

/// Adds to `batch` that the user's own syncs wake because of one of their devices.
pub fn changed(batch: &mut Batch, user_id: &str) {
    batch.topic(user_topic(UserKey::of(user_id)));
}

/// Adds to `batch` what follows when a device gets another name, which those who share a room with the user may see.
///
/// # Errors
///
/// 500 if the store fails.
pub fn renamed(batch: &mut Batch, snapshot: &Snapshot, user_id: &str, device_id: &str) -> Result<()> {
    changed(batch, user_id);
    let row = crate::accounts::record::device_key(UserKey::of(user_id), device_id);
    let keys = snapshot.get(tables::DEVICE_KEYS, &row)?;
    let keys = keys.map(|keys| crate::accounts::record::from_bytes(tables::DEVICE_KEYS, &keys)).transpose()?;
    announce(batch, snapshot, user_id, vec![Update::Device { device_id: device_id.to_owned(), keys }])
}

/// Adds to `batch` the end of whatever is kept for these devices: keys, to-device messages; others learn that they are gone.
///
/// # Errors
///
/// 500 if the store fails.
pub fn removed<'a>(
    batch: &mut Batch,
    snapshot: &Snapshot,
    user_id: &str,
    device_ids: impl IntoIterator<Item = &'a str> + Clone,
) -> Result<()> {
    for device_id in device_ids.clone() {
        keys::removed(batch, user_id, device_id);
    }
    keys::removed_from_list(batch, snapshot, user_id, device_ids)?;
    changed(batch, user_id);
    Ok(())
}
