//! `POST /keys/upload`: identity keys, one-time keys and fallback keys of a device.

use super::announce::{Update, announce};
use super::object::{self, MAX_KEY_OBJECT_BYTES};
use super::state::KeyState;
use super::{Keys, device_prefix};
use crate::accounts::{DeviceRecord, MAX_COMMIT_ATTEMPTS, commit};
use crate::error::{Error, Result};
use crate::tables;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use state_res::ids::UserKey;
use std::collections::{BTreeMap, HashMap};
use storage::{Batch, Snapshot, Version, key};

/// One-time keys of a device, of all algorithms.
const MAX_ONE_TIME_KEYS: u64 = 1_000;
/// Fallback keys of a device: one for each of so many algorithms.
const MAX_FALLBACK_KEYS: usize = 16;
/// Bytes of one one-time or fallback key.
const MAX_ONE_TIME_KEY_BYTES: usize = 4 * 1024;
/// Bytes of an algorithm's name and of a key id.
const MAX_NAME_BYTES: usize = 128;

/// The body of `POST /keys/upload`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct KeyUpload {
    /// The identity keys.
    pub device_keys: Option<Map<String, Value>>,
    /// One-time keys by `algorithm:key id`.
    pub one_time_keys: Option<BTreeMap<String, Value>>,
    /// Fallback keys, likewise; at most one per algorithm.
    pub fallback_keys: Option<BTreeMap<String, Value>>,
}

/// A one-time or fallback key.
struct NewKey {
    algorithm: String,
    id: String,
    json: Vec<u8>,
}

impl Keys {
    /// Takes in keys of a device; gives the number of one-time keys that are left, by algorithm. What was uploaded before may be
    /// uploaded again; a one-time key that was handed out does not come back by that.
    ///
    /// # Errors
    ///
    /// 400 `M_INVALID_PARAM` for keys of another user or device, for names that cannot be, and for another key under the id of one that is
    /// there; 400 `M_BAD_JSON`; 403 `M_FORBIDDEN` for more keys than a device may have; 413 `M_TOO_LARGE`. Nothing is taken in then.
    pub async fn upload(&self, user_id: &str, device_id: &str, upload: KeyUpload) -> Result<BTreeMap<String, u64>> {
        let identity = upload.device_keys.map(|keys| identity(user_id, device_id, keys)).transpose()?;
        let one_time = one_time_keys("one_time_keys", upload.one_time_keys.unwrap_or_default())?;
        let fallback = one_time_keys("fallback_keys", upload.fallback_keys.unwrap_or_default())?;
        if fallback.windows(2).any(|pair| pair[0].algorithm == pair[1].algorithm) {
            return Err(Error::invalid_param("`fallback_keys` has more than one key of the same algorithm."));
        }
        let user = UserKey::of(user_id);
        let queue = self.queue(user);
        let _turn = queue.lock().await;
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let mut batch = Batch::with_random_id(&self.world);
            let before = KeyState::read(&snapshot, user, device_id)?;
            let mut state = before.as_ref().map(|row| row.value.clone()).unwrap_or_default();
            let added = add_one_time_keys(&mut batch, &snapshot, user, device_id, &mut state, &one_time)?;
            let replaced = add_fallback_keys(&mut batch, &snapshot, user, device_id, &mut state, &fallback)?;
            let counts = state.counts.clone();
            if added || replaced {
                state.write(&mut batch, user, device_id, before.as_ref());
            }
            if let Some(identity) = &identity {
                set_identity(&mut batch, &snapshot, user_id, device_id, identity)?;
            }
            if batch.is_empty() {
                return Ok(counts);
            }
            let Some(device) = DeviceRecord::read(&snapshot, user, device_id)? else {
                return Err(Error::unknown_token("The device has been removed.", false));
            };
            // Nothing is kept for a device that goes at the same time.
            batch.require_version(tables::DEVICES, &device_prefix(user, device_id), device.version);
            if commit(&self.store, batch).await?.is_some() {
                return Ok(counts);
            }
        }
        Err(Error::contended())
    }
}

fn identity(user_id: &str, device_id: &str, mut keys: Map<String, Value>) -> Result<Map<String, Value>> {
    for (member, own) in [("user_id", user_id), ("device_id", device_id)] {
        if keys.get(member).and_then(Value::as_str) != Some(own) {
            return Err(Error::invalid_param(format!(
                "`device_keys.{member}` must be {own:?}, as the access token says."
            )));
        }
    }
    if let Some(member) = ["algorithms", "keys", "signatures"].into_iter().find(|member| !keys.contains_key(*member)) {
        return Err(Error::bad_json(format!("`device_keys` must have the member `{member}`.")));
    }
    object::check_form("`device_keys`", &keys)?;
    keys.remove("unsigned");
    let value = Value::Object(keys);
    object::canonical("`device_keys`", &value, MAX_KEY_OBJECT_BYTES)?;
    match value {
        Value::Object(keys) => Ok(keys),
        _ => Err(Error::internal("an object stopped being one")),
    }
}

fn one_time_keys(what: &str, keys: BTreeMap<String, Value>) -> Result<Vec<NewKey>> {
    let key = |(name, value): (String, Value)| {
        let is_name = |part: &str| !part.is_empty() && part.len() <= MAX_NAME_BYTES && !part.contains('\0');
        let Some((algorithm, id)) = name.split_once(':').filter(|(algorithm, id)| is_name(algorithm) && is_name(id))
        else {
            return Err(Error::invalid_param(format!(
                "A name in `{what}` must have the form algorithm:key id, each of 1 to {MAX_NAME_BYTES} bytes."
            )));
        };
        if let Some(form) = wrong_form(algorithm, &value) {
            return Err(Error::bad_json(format!("`{what}.{name}` must be {form}.")));
        }
        let json = object::canonical(&format!("`{what}.{name}`"), &value, MAX_ONE_TIME_KEY_BYTES)?;
        Ok(NewKey { algorithm: algorithm.to_owned(), id: id.to_owned(), json })
    };
    keys.into_iter().map(key).collect()
}

/// What a key of the algorithm should be, if it is not (client-server API, "Key algorithms"). Of algorithms that are not known here, any
/// string and any object may be a key.
fn wrong_form(algorithm: &str, key: &Value) -> Option<&'static str> {
    let (is_right, form) = match algorithm {
        "curve25519" => (key.is_string(), "a string"),
        "signed_curve25519" => (
            key.get("key").is_some_and(Value::is_string) && key.get("signatures").is_some_and(object::is_signatures),
            "an object with a string `key` and with `signatures`, an object of objects of strings",
        ),
        _ => (key.is_string() || key.is_object(), "a string or an object"),
    };
    (!is_right).then_some(form)
}

/// A row of `ONE_TIME_KEYS` or `CLAIMED_KEYS`, whose keys are alike: algorithm, number, key id.
pub(super) fn parse_row(row: &[u8]) -> Result<(String, u64, String)> {
    let mut row = key::Reader::new(row);
    let _ = (row.id16()?, row.str()?);
    Ok((row.str()?, row.u64()?, row.str()?))
}

/// The key of such a row.
pub(super) fn row_key(user: UserKey, device_id: &str, algorithm: &str, number: u64, id: &str) -> Vec<u8> {
    key::Writer::new().id16(user.as_bytes()).str(device_id).str(algorithm).u64(number).str(id).finish()
}

fn by_name(
    snapshot: &Snapshot,
    table: storage::Table,
    user: UserKey,
    device_id: &str,
) -> Result<HashMap<(String, String), Bytes>> {
    let rows = snapshot.scan_prefix(table, &device_prefix(user, device_id));
    rows.map(|row| {
        let (row, value) = row?;
        let (algorithm, _, id) = parse_row(&row)?;
        Ok(((algorithm, id), value))
    })
    .collect()
}

/// Whether any was new.
fn add_one_time_keys(
    batch: &mut Batch,
    snapshot: &Snapshot,
    user: UserKey,
    device_id: &str,
    state: &mut KeyState,
    keys: &[NewKey],
) -> Result<bool> {
    if keys.is_empty() {
        return Ok(false);
    }
    let unclaimed = by_name(snapshot, tables::ONE_TIME_KEYS, user, device_id)?;
    let claimed = by_name(snapshot, tables::CLAIMED_KEYS, user, device_id)?;
    let mut added = false;
    for new in keys {
        let name = (new.algorithm.clone(), new.id.clone());
        match unclaimed.get(&name) {
            Some(there) if **there == new.json[..] => continue,
            Some(_) => {
                return Err(Error::invalid_param(format!(
                    "There is another one-time key {}:{} already.",
                    new.algorithm, new.id
                )));
            }
            None => {}
        }
        // The answer to the first upload was lost, and the key was handed out in between.
        if claimed.get(&name).is_some_and(|digest| **digest == Version::of(&new.json).0) {
            continue;
        }
        batch.put(tables::ONE_TIME_KEYS, &row_key(user, device_id, &new.algorithm, state.next, &new.id), &new.json);
        state.next += 1;
        *state.counts.entry(new.algorithm.clone()).or_default() += 1;
        added = true;
    }
    if added && state.counts.values().sum::<u64>() > MAX_ONE_TIME_KEYS {
        return Err(Error::forbidden(format!("A device may have at most {MAX_ONE_TIME_KEYS} one-time keys.")));
    }
    Ok(added)
}

/// Whether any was new.
fn add_fallback_keys(
    batch: &mut Batch,
    snapshot: &Snapshot,
    user: UserKey,
    device_id: &str,
    state: &mut KeyState,
    keys: &[NewKey],
) -> Result<bool> {
    let mut added = false;
    for new in keys {
        let row = key::Writer::new().id16(user.as_bytes()).str(device_id).str(&new.algorithm).finish();
        let value = key::Writer::new().str(&new.id).tail(&new.json).finish();
        // One that was used stays used when it is uploaded again.
        if snapshot.get(tables::FALLBACK_KEYS, &row)?.is_some_and(|there| *there == value[..]) {
            continue;
        }
        batch.put(tables::FALLBACK_KEYS, &row, &value);
        state.fallback_used.insert(new.algorithm.clone(), false);
        added = true;
    }
    if state.fallback_used.len() > MAX_FALLBACK_KEYS {
        return Err(Error::forbidden(format!(
            "A device may have fallback keys of at most {MAX_FALLBACK_KEYS} algorithms."
        )));
    }
    Ok(added)
}

/// Sets the identity keys of a device and tells those who have to know, unless they are the same as before.
fn set_identity(
    batch: &mut Batch,
    snapshot: &Snapshot,
    user_id: &str,
    device_id: &str,
    identity: &Map<String, Value>,
) -> Result<()> {
    let row = device_prefix(UserKey::of(user_id), device_id);
    let mut keys = identity.clone();
    match snapshot.get(tables::DEVICE_KEYS, &row)? {
        Some(bytes) => {
            let there = object::stored(tables::DEVICE_KEYS, &bytes)?;
            if object::is_same_key(&there, &keys) {
                // Signatures that came through /keys/signatures/upload stay.
                keys = there.clone();
                for (key_id, signature) in object::signatures_by(identity, user_id) {
                    object::add_signature(&mut keys, user_id, key_id, signature);
                }
            }
            if keys == there {
                return Ok(());
            }
            batch.require_version(tables::DEVICE_KEYS, &row, Version::of(&bytes));
        }
        None => {
            batch.require_absent(tables::DEVICE_KEYS, &row);
        }
    }
    let keys = Value::Object(keys);
    batch.put(tables::DEVICE_KEYS, &row, &object::canonical("`device_keys`", &keys, MAX_KEY_OBJECT_BYTES)?);
    announce(batch, snapshot, user_id, vec![Update::Device { device_id: device_id.to_owned(), keys: Some(keys) }])
}
