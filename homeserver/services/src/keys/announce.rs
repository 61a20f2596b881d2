//! Telling those who share a room with a user that their devices or keys changed: our users through sync, other servers
//! through EDUs (server-server API, "Device Management").

use super::changes;
use crate::error::Result;
use crate::names::server_of;
use crate::rooms::{self, Membership, memberships};
use crate::{outbox, tables};
use federation::Edu;
use federation::edu::{DeviceListUpdate, SigningKeyUpdate};
use serde_json::Value;
use state_res::ids::UserKey;
use std::collections::BTreeSet;
use storage::{Batch, Snapshot, Version, key};

/// Bytes of EDUs that one batch may carry, which leaves room for what it announces.
const MAX_EDU_BYTES: usize = 512 * 1024;

/// What happened to one of our users' devices or keys.
pub(crate) enum Update {
    /// A device is new, or has another name or other identity keys.
    Device {
        /// Which.
        device_id: String,
        /// Its keys, if it has any yet.
        keys: Option<Value>,
    },
    /// A device is gone.
    Removed {
        /// Which.
        device_id: String,
        /// Whether it had identity keys.
        had_keys: bool,
    },
    /// The public cross-signing keys are these now.
    CrossSigning {
        /// The master key.
        master: Option<Value>,
        /// The self-signing key.
        self_signing: Option<Value>,
    },
}

impl Update {
    /// Whether keys changed, of which clients hear. Of devices without any only servers do.
    fn is_of_keys(&self) -> bool {
        match self {
            Self::Device { keys, .. } => keys.is_some(),
            Self::Removed { had_keys, .. } => *had_keys,
            Self::CrossSigning { .. } => true,
        }
    }
}

/// Adds to `batch` that everybody who shares a room with this user of ours learns of `updates`. The batch conflicts with others
/// that announce something of the same user, so that the numbers of the EDUs have no gap.
///
/// # Errors
///
/// 500 if the store fails.
pub(crate) fn announce(batch: &mut Batch, snapshot: &Snapshot, user_id: &str, updates: Vec<Update>) -> Result<()> {
    if updates.is_empty() {
        return Ok(());
    }
    let user = UserKey::of(user_id);
    let is_of_keys = updates.iter().any(Update::is_of_keys);
    if is_of_keys {
        record_change(batch, snapshot, user_id, None)?;
    }
    let mut servers = BTreeSet::new();
    for room in memberships::of_user(snapshot, user)? {
        if room.membership != Membership::Join {
            continue;
        }
        if is_of_keys {
            batch.topic(rooms::topic(room.room));
        }
        for row in snapshot.scan_prefix(tables::ROOM_SERVERS, room.room.as_bytes()) {
            let (row, _) = row?;
            if let Some(name) = row.get(16..).and_then(|name| std::str::from_utf8(name).ok()) {
                servers.insert(name.to_owned());
            }
        }
    }
    if let Some(own) = server_of(user_id) {
        servers.remove(own);
    }
    let before = Stream::read(snapshot, user)?;
    let (edus, number) = edus(user_id, before.number, updates, servers.len());
    if number != before.number {
        before.replace_by(batch, user, Stream { number, ..before });
    }
    let (mut bytes, mut told) = (0, 0);
    for server in &servers {
        bytes += edus.iter().map(|edu| edu.len() + server.len() + ROW_OVERHEAD).sum::<usize>();
        if bytes > MAX_EDU_BYTES {
            let left_out = servers.len() - told;
            tracing::warn!(user_id, left_out, "too many servers to tell all of them that a device list changed");
            break;
        }
        for (ordinal, edu) in (0_u16..).zip(&edus) {
            outbox::put_edu(batch, server, ordinal, edu);
        }
        told += 1;
    }
    Ok(())
}

/// Bytes of the EDUs that tell servers of a user who is new to them.
const MAX_INTRODUCTION_BYTES: usize = 256 * 1024;

/// Adds to `batch`, in which a user of ours joins a room with these servers, that those of them with which the user shared no room before
/// learn of the user's devices (server-server API, "Device Management": "when that user joins a room which contains servers which are
/// not already receiving updates"). What they get is the last update, on top of one that they have not seen: it makes them fetch the list.
///
/// # Errors
///
/// 500 if the store fails.
pub(crate) fn introduce(
    batch: &mut Batch,
    snapshot: &Snapshot,
    user_id: &str,
    servers: &BTreeSet<String>,
) -> Result<()> {
    let user = UserKey::of(user_id);
    let stream = Stream::read(snapshot, user)?;
    let number = stream.number;
    let mut new = servers.clone();
    if let Some(own) = server_of(user_id) {
        new.remove(own);
    }
    if number == 0 || new.is_empty() {
        return Ok(());
    }
    for room in memberships::of_user(snapshot, user)? {
        if room.membership != Membership::Join {
            continue;
        }
        for row in snapshot.scan_prefix(tables::ROOM_SERVERS, room.room.as_bytes()) {
            if let Some(name) = row?.0.get(16..).and_then(|name| std::str::from_utf8(name).ok()) {
                new.remove(name);
            }
        }
    }
    let device = |table| snapshot.scan_prefix(table, user.as_bytes()).next().transpose();
    let Some((row, _)) = device(tables::DEVICE_KEYS)?.map_or_else(|| device(tables::DEVICES), |row| Ok(Some(row)))?
    else {
        return Ok(());
    };
    let device_id = key::Reader::new(row.get(16..).unwrap_or_default()).str()?;
    let edu = device_edu(user_id, &device_id, Some(number - 1), number, None, None);
    // An update that is announced at the same time, to the servers that were there before, has to be told to these as well.
    stream.replace_by(batch, user, Stream { introductions: stream.introductions + 1, ..stream });
    let mut bytes = 0;
    for (told, server) in new.iter().enumerate() {
        bytes += edu.len() + server.len() + ROW_OVERHEAD;
        if bytes > MAX_INTRODUCTION_BYTES {
            tracing::warn!(
                user_id,
                left_out = new.len() - told,
                "too many servers to tell all of them of a user's devices"
            );
            break;
        }
        // After the events of the same batch, which count from 0.
        outbox::put_edu(batch, server, u16::MAX, &edu);
    }
    Ok(())
}

/// What a row of the outbox costs beside its EDU and its destination.
const ROW_OVERHEAD: usize = 40;

/// The EDUs as JSON, and the number of the last.
fn edus(user_id: &str, before: u64, updates: Vec<Update>, servers: usize) -> (Vec<Vec<u8>>, u64) {
    let mut last = before;
    let mut edus = Vec::new();
    let mut device = None;
    for update in updates {
        let (device_id, keys, deleted) = match update {
            Update::Device { device_id, keys } => (device_id, keys, None),
            Update::Removed { device_id, .. } => (device_id, None, Some(true)),
            Update::CrossSigning { master, self_signing } => {
                let edu = SigningKeyUpdate {
                    user_id: user_id.to_owned(),
                    master_key: master,
                    self_signing_key: self_signing,
                };
                edus.push(Edu::SigningKeyUpdate(edu).to_raw().as_bytes().to_vec());
                continue;
            }
        };
        let edu = device_edu(user_id, &device_id, (last > 0).then_some(last), last + 1, keys, deleted);
        last += 1;
        edus.push(edu);
        device = Some(device_id);
    }
    let bytes: usize = edus.iter().map(|edu| edu.len() + ROW_OVERHEAD).sum();
    if let Some(device_id) = device
        && bytes * servers > MAX_EDU_BYTES
    {
        // One small update that follows one nobody has seen: it makes its receivers ask for the whole list.
        let edu = device_edu(user_id, &device_id, Some(last + 1), last + 2, None, None);
        return (vec![edu], last + 2);
    }
    (edus, last)
}

fn device_edu(
    user_id: &str,
    device_id: &str,
    before: Option<u64>,
    number: u64,
    keys: Option<Value>,
    deleted: Option<bool>,
) -> Vec<u8> {
    let update = DeviceListUpdate {
        user_id: user_id.to_owned(),
        device_id: device_id.to_owned(),
        // What a user calls a device stays on this server.
        device_display_name: None,
        stream_id: i64::try_from(number).unwrap_or(i64::MAX),
        prev_id: before.map(|before| i64::try_from(before).unwrap_or(i64::MAX)).into_iter().collect(),
        deleted,
        keys,
    };
    Edu::DeviceListUpdate(update).to_raw().as_bytes().to_vec()
}

/// A row of table `DEVICE_LISTS`.
#[derive(Clone, Copy)]
struct Stream {
    /// Of the last update.
    number: u64,
    /// How often servers were told of the list because the user came to share a room with them.
    introductions: u64,
}

impl Stream {
    fn read(snapshot: &Snapshot, user: UserKey) -> Result<Self> {
        let Some(row) = snapshot.get(tables::DEVICE_LISTS, user.as_bytes())? else {
            return Ok(Self { number: 0, introductions: 0 });
        };
        let mut row = key::Reader::new(&row);
        Ok(Self { number: row.u64()?, introductions: row.u64()? })
    }

    fn row(self) -> Vec<u8> {
        key::Writer::new().u64(self.number).u64(self.introductions).finish()
    }

    /// Puts another row in place of this one; the batch conflicts with others that do.
    fn replace_by(self, batch: &mut Batch, user: UserKey, by: Self) {
        match self.number {
            0 => batch.require_absent(tables::DEVICE_LISTS, user.as_bytes()),
            _ => batch.require_version(tables::DEVICE_LISTS, user.as_bytes(), Version::of(&self.row())),
        };
        batch.put(tables::DEVICE_LISTS, user.as_bytes(), &by.row());
    }
}

/// The number of the last update of a local user's device list; 0 before the first.
pub(super) fn stream_id(snapshot: &Snapshot, user: UserKey) -> Result<u64> {
    Ok(Stream::read(snapshot, user)?.number)
}

/// Adds to `batch` that the device list of a user, ours or another server's, changed, for the syncs of those who share a room with
/// them; with an `observer`, for that user's syncs alone.
pub(super) fn record_change(
    batch: &mut Batch,
    snapshot: &Snapshot,
    user_id: &str,
    observer: Option<&str>,
) -> Result<()> {
    let subject = match observer {
        None => UserKey::of(user_id),
        // No user id contains this character.
        Some(observer) => UserKey::of(&format!("{user_id}\0{observer}")),
    };
    let mut former = 0;
    if let Some(row) = snapshot.get(tables::DEVICE_LIST_POSITIONS, subject.as_bytes())? {
        former = key::Reader::new(&row).u64()?;
        let row = key::Writer::new().u64(former).id16(subject.as_bytes()).finish();
        batch.delete(tables::DEVICE_LIST_CHANGES, &row);
    }
    let position = key::Writer::new().position_slot().finish_positioned();
    batch.put_at_position(tables::DEVICE_LIST_POSITIONS, subject.as_bytes().as_slice(), position);
    let row = key::Writer::new().position_slot().id16(subject.as_bytes()).finish_positioned();
    let value = key::Writer::new().str(user_id).str(observer.unwrap_or_default()).u64(former).finish();
    batch.put_at_position(tables::DEVICE_LIST_CHANGES, row, value);
    batch.topic(changes::topic());
    batch.topic(rooms::user_topic(UserKey::of(observer.unwrap_or(user_id))));
    Ok(())
}
