//! Devices of accounts: listing, renaming, removing (client-server API, "Device Management").

mod changed;

pub use changed::{added, changed, removed, renamed};

use crate::{
    Error, Result,
    accounts::{
        DeviceRecord, MAX_COMMIT_ATTEMPTS, TokenHash, commit, names,
        record::{self, device_key, from_bytes},
        sessions::SessionCache,
    },
    rooms::user_topic,
    tables,
};
use net::World;
use serde::{Deserialize, Serialize};
use state_res::ids::UserKey;
use std::{net::IpAddr, sync::Arc};
use storage::{Batch, Snapshot, Store};

/// Devices removed by one batch; a batch stays far below the store's limit with it.
const REMOVED_AT_ONCE: usize = 128;

/// A device as its owner sees it.
#[derive(Debug, Clone, Serialize)]
pub struct Device {
    /// Its id.
    pub device_id: String,
    /// What its owner calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The address it was last used from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen_ip: Option<IpAddr>,
    /// When it was last used, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen_ts: Option<u64>,
}

/// A row of `LAST_SEEN`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LastSeen {
    pub(crate) ts: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<IpAddr>,
}

/// The devices of every account. Cheap to clone.
#[derive(Clone)]
pub struct Devices {
    store: Store,
    world: World,
    sessions: Arc<SessionCache>,
}

impl Devices {
    pub(crate) fn new(store: Store, world: World, sessions: Arc<SessionCache>) -> Self {
        Self { store, world, sessions }
    }

    /// The user's devices, by id.
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub fn list(&self, user_id: &str) -> Result<Vec<Device>> {
        let (snapshot, user) = (self.store.snapshot(), UserKey::of(user_id));
        let mut devices = Vec::new();
        for row in snapshot.scan_prefix(tables::DEVICES, user.as_bytes()) {
            let record: DeviceRecord = from_bytes(tables::DEVICES, &row?.1)?;
            devices.push(view(&snapshot, user, record)?);
        }
        Ok(devices)
    }

    /// One of the user's devices.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND`.
    pub fn get(&self, user_id: &str, device_id: &str) -> Result<Device> {
        let (snapshot, user) = (self.store.snapshot(), UserKey::of(user_id));
        let record = DeviceRecord::read(&snapshot, user, device_id)?.ok_or_else(no_such_device)?;
        view(&snapshot, user, record.value)
    }

    /// Whether the user has the device.
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub fn exists(&self, snapshot: &Snapshot, user: UserKey, device_id: &str) -> Result<bool> {
        Ok(snapshot.get(tables::DEVICES, &device_key(user, device_id))?.is_some())
    }

    /// Ids and display names of the user's devices.
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub fn names(&self, snapshot: &Snapshot, user: UserKey) -> Result<Vec<(String, Option<String>)>> {
        let rows = snapshot.scan_prefix(tables::DEVICES, user.as_bytes());
        rows.map(|row| {
            let record: DeviceRecord = from_bytes(tables::DEVICES, &row?.1)?;
            Ok((record.device_id, record.display_name))
        })
        .collect()
    }

    /// Renames a device; `None` leaves its name as it is.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND`, 400 `M_INVALID_PARAM` for a name that is too long.
    pub async fn rename(&self, user_id: &str, device_id: &str, name: Option<&str>) -> Result<()> {
        name.map_or(Ok(()), names::check_device_name)?;
        let user = UserKey::of(user_id);
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let device = DeviceRecord::read(&snapshot, user, device_id)?.ok_or_else(no_such_device)?;
            let mut record = device.value;
            match name {
                Some(name) if record.display_name.as_deref() != Some(name) => {
                    record.display_name = Some(name.to_owned())
                }
                _ => return Ok(()),
            }
            let key = device_key(user, device_id);
            let mut batch = Batch::with_random_id(&self.world);
            batch.require_version(tables::DEVICES, &key, device.version);
            batch.put(tables::DEVICES, &key, &record.to_bytes());
            renamed(&mut batch, &snapshot, user_id, device_id)?;
            if commit(&self.store, batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::contended())
    }

    /// Removes these devices with their tokens. Those that are not there are skipped: they count as removed before.
    ///
    /// # Errors
    ///
    /// 500 if the store fails; the devices are then gone or not in steps of 128.
    pub async fn remove(&self, user_id: &str, device_ids: &[String]) -> Result<()> {
        for chunk in device_ids.chunks(REMOVED_AT_ONCE) {
            self.remove_chunk(user_id, chunk).await?;
        }
        Ok(())
    }

    /// Removes every device of the user but one.
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub async fn remove_all_except(&self, user_id: &str, kept: Option<&str>) -> Result<()> {
        let snapshot = self.store.snapshot();
        let names = self.names(&snapshot, UserKey::of(user_id))?;
        let ids: Vec<_> = names.into_iter().map(|(id, _)| id).filter(|id| Some(id.as_str()) != kept).collect();
        self.remove(user_id, &ids).await
    }

    async fn remove_chunk(&self, user_id: &str, device_ids: &[String]) -> Result<()> {
        let user = UserKey::of(user_id);
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let mut batch = Batch::with_random_id(&self.world);
            let (mut gone, mut ended) = (Vec::new(), Vec::new());
            for device_id in device_ids {
                let Some(device) = DeviceRecord::read(&snapshot, user, device_id)? else { continue };
                let key = device_key(user, device_id);
                batch.require_version(tables::DEVICES, &key, device.version);
                batch.delete(tables::DEVICES, &key);
                batch.delete(tables::LAST_SEEN, &key);
                end_tokens(&mut batch, user, &device.value);
                gone.push(device_id.as_str());
                ended.extend(device.value.access_tokens);
            }
            if batch.is_empty() {
                return Ok(());
            }
            removed(&mut batch, &snapshot, user_id, gone)?;
            if commit(&self.store, batch).await?.is_some() {
                self.sessions.forget(&ended);
                return Ok(());
            }
        }
        Err(Error::contended())
    }
}

/// When and from where the device was last used.
pub(crate) fn last_seen(snapshot: &Snapshot, user: UserKey, device_id: &str) -> Result<Option<LastSeen>> {
    Ok(record::read(snapshot, tables::LAST_SEEN, &device_key(user, device_id))?.map(|row| row.value))
}

/// Adds to `batch` the end of every token of the user's device; who waits by one of them wakes. The caller tells the session cache afterwards,
/// with `access_tokens` of the record.
pub(crate) fn end_tokens(batch: &mut Batch, user: UserKey, device: &DeviceRecord) {
    batch.topic(user_topic(user));
    for TokenHash(hash) in &device.access_tokens {
        batch.delete(tables::ACCESS_TOKENS, hash);
    }
    for TokenHash(hash) in &device.refresh_tokens {
        batch.delete(tables::REFRESH_TOKENS, hash);
    }
}

fn view(snapshot: &Snapshot, user: UserKey, record: DeviceRecord) -> Result<Device> {
    let seen = last_seen(snapshot, user, &record.device_id)?;
    Ok(Device {
        device_id: record.device_id,
        display_name: record.display_name,
        last_seen_ip: seen.as_ref().and_then(|seen| seen.address),
        last_seen_ts: seen.map(|seen| seen.ts),
    })
}

fn no_such_device() -> Error {
    Error::not_found("You have no device with this id.")
}
