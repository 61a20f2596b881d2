//! Cached device lists of users of other servers (server-server API, "Device Management").
//!
//! A list is fetched when someone who shares a room with the user asks for it; from then on the user's server announces changes. One whose
//! announcements have a gap is stale until it is fetched again. A list counts for an asker only if a room has joined the two of them without a
//! break since it was fetched: otherwise announcements may have gone past us.

use super::announce::record_change;
use super::cross_signing::Usage;
use super::object::{self, MAX_KEY_OBJECT_BYTES};
use super::query::{Wanted, device_id_of};
use super::{Keys, device_prefix};
use crate::accounts::{MAX_COMMIT_ATTEMPTS, Versioned, commit, record};
use crate::error::Result;
use crate::names::server_of;
use crate::rooms::{self, Membership};
use crate::tables;
use federation::edu::{DeviceListUpdate, SigningKeyUpdate};
use federation::types::{DeviceKeyRequest, UserKeys};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use state_res::ids::{RoomKey, UserKey};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use storage::{Batch, Position, Snapshot};

/// Devices of one user that are cached; what is beyond is left out.
const MAX_DEVICES: usize = 1_000;
/// Bytes of one user's list that are cached; a larger one is fetched each time.
const MAX_LIST_BYTES: usize = 512 * 1024;
/// Updates remembered one by one, for those that do not come in order.
const MAX_SEEN: usize = 64;
/// Lists fetched at the same time because of announcements.
pub(super) const RESYNCS_AT_ONCE: usize = 8;
/// Pauses before each try to fetch a stale list. After the last, it is fetched when someone asks.
const RESYNC_PAUSES: [u64; 5] = [0, 2, 15, 60, 300];

/// A row of `REMOTE_DEVICE_LISTS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RemoteList {
    user_id: String,
    /// The update up to which all is in the list; none if the list was fetched in a way that does not say.
    base: Option<i64>,
    /// Later updates that are in it.
    seen: VecDeque<i64>,
    stale: bool,
    /// Our position when it was fetched.
    as_of: Position,
}

/// A row of `REMOTE_DEVICES`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct CachedDevice {
    pub(super) keys: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) display_name: Option<String>,
}

/// A list as another server gave it.
struct Fetched {
    base: Option<i64>,
    devices: BTreeMap<String, CachedDevice>,
    master: Option<Map<String, Value>>,
    self_signing: Option<Map<String, Value>>,
}

impl RemoteList {
    fn read(snapshot: &Snapshot, user: UserKey) -> Result<Option<Versioned<Self>>> {
        record::read(snapshot, tables::REMOTE_DEVICE_LISTS, user.as_bytes())
    }

    fn write(&self, batch: &mut Batch, before: Option<&Versioned<Self>>) {
        let user = UserKey::of(&self.user_id);
        match before {
            Some(before) => batch.require_version(tables::REMOTE_DEVICE_LISTS, user.as_bytes(), before.version),
            None => batch.require_absent(tables::REMOTE_DEVICE_LISTS, user.as_bytes()),
        };
        batch.put(tables::REMOTE_DEVICE_LISTS, user.as_bytes(), &record::to_bytes(self));
    }

    fn has(&self, update: i64) -> bool {
        self.base.is_some_and(|base| update <= base) || self.seen.contains(&update)
    }

    fn add(&mut self, update: i64) {
        self.seen.push_back(update);
        if self.seen.len() > MAX_SEEN
            && let Some(oldest) = self.seen.pop_front()
        {
            self.base = self.base.max(Some(oldest));
        }
    }
}

impl Keys {
    /// Whether the cached list of a user counts for someone who joined these rooms at these positions.
    pub(super) fn is_fresh(&self, snapshot: &Snapshot, joined: &[(RoomKey, Position)], user_id: &str) -> Result<bool> {
        let user = UserKey::of(user_id);
        let Some(list) = RemoteList::read(snapshot, user)?.map(|row| row.value).filter(|list| !list.stale) else {
            return Ok(false);
        };
        for (room, since) in joined {
            if *since > list.as_of {
                continue;
            }
            let reader = self.rooms.reader_at(snapshot.clone(), u64::MAX, *room);
            if let Some(member) = reader.member(user)?
                && member.membership == Membership::Join
                && reader.standing(member.event)?.is_some_and(|standing| standing.position <= list.as_of)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks a server for its users' keys and keeps those of users with whom rooms are shared. The inner error says why there is no answer.
    pub(super) async fn fetch(
        &self,
        server: &str,
        users: &[Wanted],
        timeout: Duration,
    ) -> Result<std::result::Result<UserKeys, String>> {
        let snapshot = self.store.snapshot();
        let request: DeviceKeyRequest = users.iter().map(|user| (user.user_id.clone(), Vec::new())).collect();
        let result = match self.client.get() {
            Some(client) => match self.world.timeout(timeout, client.user_keys(server, &request)).await {
                Ok(result) => result.map_err(|error| error.for_others()),
                Err(elapsed) => Err(elapsed.to_string()),
            },
            None => Err("this server does not talk to others".to_owned()),
        };
        let shared = users.iter().filter(|user| user.shared);
        let kept = shared.map(|user| self.keep(&snapshot, &user.user_id, result.as_ref().ok()));
        for kept in join_all(kept).await {
            kept?;
        }
        Ok(result)
    }

    /// Keeps a user's keys, or that nobody knows them, so that an announcement is taken as news. Another writer wins.
    async fn keep(&self, snapshot: &Snapshot, user_id: &str, keys: Option<&UserKeys>) -> Result<()> {
        let before = RemoteList::read(snapshot, UserKey::of(user_id))?;
        let mut batch = Batch::with_random_id(&self.world);
        match keys {
            Some(keys) => {
                let devices = keys.device_keys.get(user_id).cloned().unwrap_or_default();
                let fetched = Fetched {
                    base: None,
                    devices: valid_devices(user_id, devices),
                    master: valid_key(Usage::Master, user_id, keys.master_keys.get(user_id).cloned()),
                    self_signing: valid_key(Usage::SelfSigning, user_id, keys.self_signing_keys.get(user_id).cloned()),
                };
                if !fetched.write(&mut batch, user_id, snapshot.position(), before.as_ref()) {
                    return Ok(());
                }
            }
            None if before.is_some() => return Ok(()),
            None => RemoteList::unknown(user_id).write(&mut batch, None),
        }
        commit(&self.store, batch).await?;
        Ok(())
    }

    /// Receives an EDU `m.device_list_update`. One about a user of another server than `origin` is ignored, and so is one about a user whose list
    /// nobody here has asked for.
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub async fn on_device_list_update(self: &Arc<Self>, origin: &str, update: DeviceListUpdate) -> Result<()> {
        let user_id = &update.user_id;
        if server_of(user_id) != Some(origin) || update.device_id.len() > crate::accounts::names::MAX_DEVICE_ID_BYTES {
            tracing::debug!(origin, user_id, "device list update ignored: its user or device cannot be");
            return Ok(());
        }
        let user = UserKey::of(user_id);
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let Some(before) = RemoteList::read(&snapshot, user)? else { return Ok(()) };
            let mut list = before.value.clone();
            if !list.stale && list.has(update.stream_id) {
                return Ok(());
            }
            let follows = !update.prev_id.is_empty() && update.prev_id.iter().all(|id| list.has(*id));
            let mut batch = Batch::with_random_id(&self.world);
            let row = device_prefix(user, &update.device_id);
            let is_of_keys = update.keys.is_some() || snapshot.contains(tables::REMOTE_DEVICES, &row)?;
            let applied = !list.stale && follows && apply(&mut batch, &snapshot, &update)?;
            if applied {
                list.add(update.stream_id);
            } else {
                list.stale = true;
            }
            if list != before.value {
                list.write(&mut batch, Some(&before));
            }
            // Of devices without keys clients hear nothing.
            if !applied || is_of_keys {
                self.tell(&mut batch, &snapshot, user_id)?;
            }
            if commit(&self.store, batch).await?.is_some() {
                if !applied {
                    self.resync(update.user_id);
                }
                return Ok(());
            }
        }
        Err(crate::Error::contended())
    }

    /// Receives an EDU `m.signing_key_update`; ignored as in [`Self::on_device_list_update`].
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub async fn on_signing_key_update(self: &Arc<Self>, origin: &str, update: SigningKeyUpdate) -> Result<()> {
        let user_id = &update.user_id;
        let user = UserKey::of(user_id);
        if server_of(user_id) != Some(origin) {
            tracing::debug!(origin, user_id, "signing key update ignored: the user is of another server");
            return Ok(());
        }
        let snapshot = self.store.snapshot();
        if RemoteList::read(&snapshot, user)?.is_none() {
            return Ok(());
        }
        let mut batch = Batch::with_random_id(&self.world);
        for (usage, key) in [(Usage::Master, update.master_key), (Usage::SelfSigning, update.self_signing_key)] {
            if let Some(key) = valid_key(usage, user_id, key) {
                let json = record::to_bytes(&key);
                batch.put(tables::CROSS_SIGNING_KEYS, &usage.row(user), &json);
            }
        }
        self.tell(&mut batch, &snapshot, user_id)?;
        commit(&self.store, batch).await?;
        Ok(())
    }

    /// Adds to `batch` that those who share a room with a user of another server ask for their keys again.
    fn tell(&self, batch: &mut Batch, snapshot: &Snapshot, user_id: &str) -> Result<()> {
        record_change(batch, snapshot, user_id, None)?;
        let user = UserKey::of(user_id);
        for row in snapshot.scan_prefix(tables::ROOM_IDS, &[]) {
            let (room, _) = row?;
            let Ok(room) = <[u8; 16]>::try_from(&*room) else { continue };
            let room = RoomKey::from_bytes(room);
            if snapshot.contains(tables::MEMBERS, &rooms::reader::room_key(room, user.as_bytes()))? {
                batch.topic(rooms::topic(room));
            }
        }
        Ok(())
    }

    /// Fetches a stale list, in the background.
    fn resync(self: &Arc<Self>, user_id: String) {
        let user = UserKey::of(&user_id);
        if self.client.get().is_none() || !self.resyncing.lock().insert(user) {
            return;
        }
        let keys = Arc::clone(self);
        self.world.spawn("device list resync", async move {
            for pause in RESYNC_PAUSES {
                keys.world.sleep(Duration::from_secs(pause)).await;
                let _permit = keys.resync_permits.acquire().await;
                match keys.resync_once(&user_id).await {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => tracing::warn!(user_id, %error, "a device list cannot be fetched"),
                }
            }
            keys.resyncing.lock().remove(&user);
        });
    }

    /// Whether there is nothing more to fetch.
    async fn resync_once(&self, user_id: &str) -> Result<bool> {
        let (user, Some(server), Some(client)) = (UserKey::of(user_id), server_of(user_id), self.client.get()) else {
            return Ok(true);
        };
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let Some(before) = RemoteList::read(&snapshot, user)? else { return Ok(true) };
            if !before.value.stale && before.value.base.is_some() {
                return Ok(true);
            }
            let answer = match client.user_devices(server, user_id).await {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::debug!(user_id, %error, "a device list cannot be fetched");
                    return Ok(false);
                }
            };
            let devices = answer.devices.into_iter().map(|device| (device.device_id, device.keys)).collect();
            let fetched = Fetched {
                base: Some(answer.stream_id),
                devices: valid_devices(user_id, devices),
                master: valid_key(Usage::Master, user_id, answer.master_key),
                self_signing: valid_key(Usage::SelfSigning, user_id, answer.self_signing_key),
            };
            let mut batch = Batch::with_random_id(&self.world);
            let differs = fetched.devices != cached_devices(&snapshot, user)?;
            if !fetched.write(&mut batch, user_id, snapshot.position(), Some(&before)) {
                return Ok(true);
            }
            if differs {
                self.tell(&mut batch, &snapshot, user_id)?;
            }
            // An announcement that came in the meantime wins: what was fetched may lack it.
            if commit(&self.store, batch).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl RemoteList {
    /// A list that somebody wanted and nobody could get.
    fn unknown(user_id: &str) -> Self {
        Self { user_id: user_id.to_owned(), base: None, seen: VecDeque::new(), stale: true, as_of: 0 }
    }
}

impl Fetched {
    /// Puts it in the place of what is cached; `false` if it is too large for that.
    fn write(self, batch: &mut Batch, user_id: &str, as_of: Position, before: Option<&Versioned<RemoteList>>) -> bool {
        let user = UserKey::of(user_id);
        let rows: Vec<_> = self
            .devices
            .iter()
            .map(|(device_id, device)| (device_prefix(user, device_id), record::to_bytes(device)))
            .collect();
        if rows.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_LIST_BYTES {
            return false;
        }
        let list = RemoteList { base: self.base, stale: false, as_of, ..RemoteList::unknown(user_id) };
        list.write(batch, before);
        let all = user.as_bytes();
        batch.delete_range(tables::REMOTE_DEVICES, all, &storage::key::prefix_end(all));
        for (key, value) in rows {
            batch.put(tables::REMOTE_DEVICES, &key, &value);
        }
        for (usage, key) in [(Usage::Master, self.master), (Usage::SelfSigning, self.self_signing)] {
            match key {
                Some(key) => batch.put(tables::CROSS_SIGNING_KEYS, &usage.row(user), &record::to_bytes(&key)),
                None => batch.delete(tables::CROSS_SIGNING_KEYS, &usage.row(user)),
            };
        }
        true
    }
}

/// Applies an update to the cached list; `false` if it cannot be, so that the list has to be fetched.
fn apply(batch: &mut Batch, snapshot: &Snapshot, update: &DeviceListUpdate) -> Result<bool> {
    let user = UserKey::of(&update.user_id);
    let row = device_prefix(user, &update.device_id);
    let Some(keys) = update.keys.clone().filter(|_| update.deleted != Some(true)) else {
        batch.delete(tables::REMOTE_DEVICES, &row);
        return Ok(true);
    };
    let devices = BTreeMap::from([(update.device_id.clone(), keys)]);
    let Some(mut device) = valid_devices(&update.user_id, devices).remove(&update.device_id) else { return Ok(false) };
    device.display_name = update.device_display_name.clone().filter(|name| name.len() <= MAX_KEY_OBJECT_BYTES);
    let there = snapshot.scan_prefix(tables::REMOTE_DEVICES, user.as_bytes()).take(MAX_DEVICES).count();
    if there >= MAX_DEVICES {
        return Ok(false);
    }
    batch.put(tables::REMOTE_DEVICES, &row, &record::to_bytes(&device));
    Ok(true)
}

fn cached_devices(snapshot: &Snapshot, user: UserKey) -> Result<BTreeMap<String, CachedDevice>> {
    let rows = snapshot.scan_prefix(tables::REMOTE_DEVICES, user.as_bytes());
    rows.map(|row| {
        let (row, device) = row?;
        Ok((device_id_of(&row)?, record::from_bytes(tables::REMOTE_DEVICES, &device)?))
    })
    .collect()
}

/// Those of another server's device keys that are what they should be.
pub(super) fn valid_devices(user_id: &str, devices: BTreeMap<String, Value>) -> BTreeMap<String, CachedDevice> {
    let valid = |(device_id, keys): (String, Value)| {
        let Value::Object(mut keys) = keys else { return None };
        let is = |member: &str, value: &str| keys.get(member).and_then(Value::as_str) == Some(value);
        if !is("user_id", user_id) || !is("device_id", &device_id) || object::check_form("the keys", &keys).is_err() {
            return None;
        }
        let unsigned = keys.remove("unsigned");
        let name = unsigned.as_ref().and_then(|unsigned| unsigned.get("device_display_name")).and_then(Value::as_str);
        let display_name = name.filter(|name| name.len() <= MAX_KEY_OBJECT_BYTES).map(str::to_owned);
        let keys = Value::Object(keys);
        object::canonical("the keys", &keys, MAX_KEY_OBJECT_BYTES).ok()?;
        match keys {
            Value::Object(keys) => Some((device_id, CachedDevice { keys, display_name })),
            _ => None,
        }
    };
    devices.into_iter().filter_map(valid).take(MAX_DEVICES).collect()
}

/// Another server's cross-signing key, if it is what it should be.
pub(super) fn valid_key(usage: Usage, user_id: &str, key: Option<Value>) -> Option<Map<String, Value>> {
    let Some(Value::Object(key)) = key else { return None };
    usage.check(user_id, &key).ok()?;
    Some(key)
}
