//! `POST /keys/query`: identity and cross-signing keys of our users, and of others' from the cache or their servers.

use super::announce::stream_id;
use super::claim::failure;
use super::cross_signing::Usage;
use super::remote::{CachedDevice, valid_devices, valid_key};
use super::signatures::add_signatures_of;
use super::{Keys, device_prefix, object};
use crate::accounts::{DeviceRecord, record};
use crate::error::{Error, Result};
use crate::names::server_of;
use crate::rooms::Membership;
use crate::tables;
use federation::types::{DeviceKeyRequest, UserDevice, UserDevices, UserKeys};
use futures::future::join_all;
use serde::Serialize;
use serde_json::{Map, Value, json};
use state_res::ids::{RoomKey, UserKey};
use std::collections::BTreeMap;
use std::time::Duration;
use storage::{Snapshot, key};

/// How long other servers are given if the client does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long they are given at most.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// The answer to `POST /keys/query`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct KeyQueryAnswer {
    /// Servers that could not be asked, and why.
    pub failures: BTreeMap<String, Value>,
    /// For each user, for each device, its keys.
    pub device_keys: BTreeMap<String, BTreeMap<String, Value>>,
    /// Master keys by user.
    pub master_keys: BTreeMap<String, Value>,
    /// Self-signing keys by user.
    pub self_signing_keys: BTreeMap<String, Value>,
    /// The asker's own user-signing key, if it was asked for.
    pub user_signing_keys: BTreeMap<String, Value>,
}

/// A user of another server of whom nothing usable is cached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) user_id: String,
    /// Whether the asker shares a room with them, so that their server keeps us up to date from now on.
    pub(super) shared: bool,
}

impl Keys {
    /// The keys of these users, as `asker` may see them. Other servers get `timeout` to answer for users who are not cached, all at the
    /// same time.
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub async fn query(&self, asker: &str, wanted: &DeviceKeyRequest, timeout: Duration) -> Result<KeyQueryAnswer> {
        let snapshot = self.store.snapshot();
        let mine = self.rooms.deps().user_rooms.peek(&snapshot, UserKey::of(asker))?;
        let joined: Vec<(RoomKey, u64)> =
            mine.iter().filter(|row| row.membership == Membership::Join).map(|row| (row.room, row.position)).collect();
        let mut answer = KeyQueryAnswer::default();
        let mut ask: BTreeMap<&str, Vec<Wanted>> = BTreeMap::new();
        for (user_id, devices) in wanted {
            if self.is_local(user_id) {
                self.add_local(&snapshot, asker, user_id, devices, &mut answer)?;
            } else if let Some(server) = server_of(user_id) {
                if self.is_fresh(&snapshot, &joined, user_id)? {
                    add_cached(&snapshot, asker, user_id, devices, &mut answer)?;
                } else {
                    let rooms: Vec<RoomKey> = joined.iter().map(|(room, _)| *room).collect();
                    let shared = super::changes::shares_one(&self.rooms, &snapshot, &rooms, user_id)?;
                    ask.entry(server).or_default().push(Wanted { user_id: user_id.clone(), shared });
                }
            }
        }
        let asked = join_all(ask.into_iter().map(|(server, users)| async move {
            let result = self.fetch(server, &users, timeout).await;
            (server, users, result)
        }));
        for (server, users, result) in asked.await {
            match result? {
                Err(because) => {
                    answer.failures.insert(server.to_owned(), failure(&because));
                }
                Ok(mut keys) => {
                    for user in users {
                        let devices = wanted.get(&user.user_id).map_or(&[][..], Vec::as_slice);
                        add_fetched(&snapshot, asker, &user.user_id, devices, &mut keys, &mut answer)?;
                    }
                }
            }
        }
        Ok(answer)
    }

    /// `POST /user/keys/query` of another server. Users who are not of this server are left out.
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub fn answer_user_keys(&self, wanted: DeviceKeyRequest) -> Result<UserKeys> {
        let snapshot = self.store.snapshot();
        let mut answer = KeyQueryAnswer::default();
        for (user_id, devices) in wanted.iter().filter(|(user_id, _)| self.is_local(user_id)) {
            self.add_local(&snapshot, "", user_id, devices, &mut answer)?;
        }
        Ok(UserKeys {
            device_keys: answer.device_keys,
            master_keys: answer.master_keys,
            self_signing_keys: answer.self_signing_keys,
        })
    }

    /// `GET /user/devices/{userId}` of another server.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND` if there is no such account here.
    pub fn answer_user_devices(&self, user_id: &str) -> Result<UserDevices> {
        let (snapshot, user) = (self.store.snapshot(), UserKey::of(user_id));
        if !self.is_local(user_id) || !snapshot.contains(tables::ACCOUNTS, user.as_bytes())? {
            return Err(Error::not_found(format!("There is no account {user_id} on this server.")));
        }
        let mut devices = Vec::new();
        for row in snapshot.scan_prefix(tables::DEVICE_KEYS, user.as_bytes()) {
            let (row, bytes) = row?;
            let keys = Value::Object(object::stored(tables::DEVICE_KEYS, &bytes)?);
            devices.push(UserDevice { device_id: device_id_of(&row)?, keys, device_display_name: None });
        }
        let public = |usage: Usage| Ok::<_, Error>(usage.read(&snapshot, user)?.map(|(key, _)| Value::Object(key)));
        Ok(UserDevices {
            user_id: user_id.to_owned(),
            stream_id: i64::try_from(stream_id(&snapshot, user)?).unwrap_or(i64::MAX),
            devices,
            master_key: public(Usage::Master)?,
            self_signing_key: public(Usage::SelfSigning)?,
        })
    }

    /// Keys of a user of ours. Names of devices are for users of this server only (`asker` is empty for others).
    fn add_local(
        &self,
        snapshot: &Snapshot,
        asker: &str,
        user_id: &str,
        wanted: &[String],
        answer: &mut KeyQueryAnswer,
    ) -> Result<()> {
        let user = UserKey::of(user_id);
        if !snapshot.contains(tables::ACCOUNTS, user.as_bytes())? {
            return Ok(());
        }
        let mut devices = BTreeMap::new();
        let mut add = |device_id: String, bytes: &[u8]| -> Result<()> {
            let mut keys = object::stored(tables::DEVICE_KEYS, bytes)?;
            let device = DeviceRecord::read(snapshot, user, &device_id)?;
            let name = device.and_then(|device| device.value.display_name).filter(|_| !asker.is_empty());
            add_name(&mut keys, name);
            devices.insert(device_id, Value::Object(keys));
            Ok(())
        };
        if wanted.is_empty() {
            for row in snapshot.scan_prefix(tables::DEVICE_KEYS, user.as_bytes()) {
                let (row, bytes) = row?;
                add(device_id_of(&row)?, &bytes)?;
            }
        } else {
            for device_id in wanted {
                if let Some(bytes) = snapshot.get(tables::DEVICE_KEYS, &device_prefix(user, device_id))? {
                    add(device_id.clone(), &bytes)?;
                }
            }
        }
        answer.device_keys.insert(user_id.to_owned(), devices);
        add_cross_signing(snapshot, asker, user_id, answer)
    }
}

/// Keys of a user of another server, from the cache.
fn add_cached(
    snapshot: &Snapshot,
    asker: &str,
    user_id: &str,
    wanted: &[String],
    answer: &mut KeyQueryAnswer,
) -> Result<()> {
    let user = UserKey::of(user_id);
    let mut devices = BTreeMap::new();
    for row in snapshot.scan_prefix(tables::REMOTE_DEVICES, user.as_bytes()) {
        let (row, bytes) = row?;
        let device_id = device_id_of(&row)?;
        if !wanted.is_empty() && !wanted.contains(&device_id) {
            continue;
        }
        let device: CachedDevice = record::from_bytes(tables::REMOTE_DEVICES, &bytes)?;
        let mut keys = device.keys;
        add_name(&mut keys, device.display_name);
        devices.insert(device_id, Value::Object(keys));
    }
    answer.device_keys.insert(user_id.to_owned(), devices);
    add_cross_signing(snapshot, asker, user_id, answer)
}

/// Keys of a user of another server, as it just gave them.
fn add_fetched(
    snapshot: &Snapshot,
    asker: &str,
    user_id: &str,
    wanted: &[String],
    keys: &mut UserKeys,
    answer: &mut KeyQueryAnswer,
) -> Result<()> {
    let Some(devices) = keys.device_keys.remove(user_id) else { return Ok(()) };
    let devices = valid_devices(user_id, devices).into_iter();
    let devices = devices.filter(|(device_id, _)| wanted.is_empty() || wanted.contains(device_id));
    let devices = devices.map(|(device_id, device)| {
        let mut keys = device.keys;
        add_name(&mut keys, device.display_name);
        (device_id, Value::Object(keys))
    });
    answer.device_keys.insert(user_id.to_owned(), devices.collect());
    if let Some(mut master) = valid_key(Usage::Master, user_id, keys.master_keys.remove(user_id)) {
        add_signatures_of(snapshot, UserKey::of(user_id), &mut master, asker)?;
        answer.master_keys.insert(user_id.to_owned(), Value::Object(master));
    }
    if let Some(key) = valid_key(Usage::SelfSigning, user_id, keys.self_signing_keys.remove(user_id)) {
        answer.self_signing_keys.insert(user_id.to_owned(), Value::Object(key));
    }
    Ok(())
}

fn add_cross_signing(snapshot: &Snapshot, asker: &str, user_id: &str, answer: &mut KeyQueryAnswer) -> Result<()> {
    let user = UserKey::of(user_id);
    if let Some((mut master, _)) = Usage::Master.read(snapshot, user)? {
        if !asker.is_empty() {
            add_signatures_of(snapshot, user, &mut master, asker)?;
        }
        answer.master_keys.insert(user_id.to_owned(), Value::Object(master));
    }
    if let Some((key, _)) = Usage::SelfSigning.read(snapshot, user)? {
        answer.self_signing_keys.insert(user_id.to_owned(), Value::Object(key));
    }
    if asker == user_id
        && let Some((key, _)) = Usage::UserSigning.read(snapshot, user)?
    {
        answer.user_signing_keys.insert(user_id.to_owned(), Value::Object(key));
    }
    Ok(())
}

fn add_name(keys: &mut Map<String, Value>, name: Option<String>) {
    let unsigned = name.map_or_else(|| json!({}), |name| json!({ "device_display_name": name }));
    keys.insert("unsigned".to_owned(), unsigned);
}

/// The device id in the key of a row `user, device id`.
pub(super) fn device_id_of(row: &[u8]) -> Result<String> {
    let mut row = key::Reader::new(row);
    row.id16()?;
    Ok(row.str()?)
}
