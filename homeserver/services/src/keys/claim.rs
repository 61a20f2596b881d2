//! `POST /keys/claim`: one-time keys, each handed out once, also across a crash.

use super::Keys;
use super::state::KeyState;
use super::upload::{parse_row, row_key};
use crate::accounts::{MAX_COMMIT_ATTEMPTS, commit};
use crate::error::{Error, Result};
use crate::names::server_of;
use crate::tables;
use federation::types::{ClaimedKeys, KeyClaimRequest};
use futures::future::join_all;
use serde::Serialize;
use serde_json::{Map, Value, json};
use state_res::ids::UserKey;
use std::collections::BTreeMap;
use std::time::Duration;
use storage::{Batch, Snapshot, Version, key};

/// Claimed keys of a device and algorithm that are remembered, so that a repeated upload does not bring them back.
const REMEMBERED: u64 = 1_000;
/// Devices of one request.
const MAX_CLAIMED_DEVICES: usize = 10_000;

/// The answer to `POST /keys/claim`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct KeyClaimAnswer {
    /// Servers that could not be asked, and why.
    pub failures: BTreeMap<String, Value>,
    /// For each user, for each device, one key by `algorithm:key id`.
    pub one_time_keys: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
}

impl Keys {
    /// Claims a key of each of these devices, of our users and others. Devices without one are left out.
    ///
    /// # Errors
    ///
    /// 400 `M_INVALID_PARAM` for too many devices at once; 500 if the store fails.
    pub async fn claim(&self, wanted: KeyClaimRequest, timeout: Duration) -> Result<KeyClaimAnswer> {
        if wanted.values().map(BTreeMap::len).sum::<usize>() > MAX_CLAIMED_DEVICES {
            return Err(Error::invalid_param(format!(
                "Keys of at most {MAX_CLAIMED_DEVICES} devices can be claimed at once."
            )));
        }
        let mut local = KeyClaimRequest::new();
        let mut remote: BTreeMap<String, KeyClaimRequest> = BTreeMap::new();
        for (user_id, devices) in wanted {
            if self.is_local(&user_id) {
                local.insert(user_id, devices);
            } else if let Some(server) = server_of(&user_id).map(str::to_owned) {
                remote.entry(server).or_default().insert(user_id, devices);
            }
        }
        let ask = remote.into_iter().map(|(server, request)| async move {
            let result = match self.client.get() {
                Some(client) => match self.world.timeout(timeout, client.claim_keys(&server, &request)).await {
                    Ok(result) => result.map_err(|error| error.for_others()),
                    Err(elapsed) => Err(elapsed.to_string()),
                },
                None => Err("this server does not talk to others".to_owned()),
            };
            (server, request, result)
        });
        let (ours, theirs) = futures::join!(self.answer_claim_keys(local), join_all(ask));
        let mut answer = KeyClaimAnswer { one_time_keys: ours?.one_time_keys, ..KeyClaimAnswer::default() };
        for (server, request, result) in theirs {
            match result {
                Ok(keys) => {
                    let asked = |user: &String, device: &String| {
                        request.get(user).is_some_and(|devices| devices.contains_key(device))
                    };
                    for (user, mut devices) in keys.one_time_keys {
                        devices.retain(|device, _| asked(&user, device));
                        answer.one_time_keys.insert(user, devices);
                    }
                }
                Err(because) => {
                    answer.failures.insert(server, failure(&because));
                }
            }
        }
        Ok(answer)
    }

    /// Claims keys of our users' devices. Users of other servers and devices without a key are left out.
    ///
    /// # Errors
    ///
    /// 500 if the store fails. Keys that were claimed by then are lost to everybody.
    pub async fn answer_claim_keys(&self, wanted: KeyClaimRequest) -> Result<ClaimedKeys> {
        let claims = wanted.iter().filter(|(user_id, _)| self.is_local(user_id)).map(|(user_id, devices)| async move {
            let keys = self.claim_from(user_id, devices).await?;
            Ok::<_, Error>((user_id.clone(), keys))
        });
        let mut claimed = ClaimedKeys::default();
        for result in join_all(claims).await {
            let (user_id, keys) = result?;
            if !keys.is_empty() {
                claimed.one_time_keys.insert(user_id, keys);
            }
        }
        Ok(claimed)
    }

    async fn claim_from(
        &self,
        user_id: &str,
        devices: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Map<String, Value>>> {
        let user = UserKey::of(user_id);
        let queue = self.queue(user);
        let _turn = queue.lock().await;
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let mut batch = Batch::with_random_id(&self.world);
            let mut claimed = BTreeMap::new();
            for (device_id, algorithm) in devices {
                if let Some((id, json)) = claim_one(&mut batch, &snapshot, user, device_id, algorithm)? {
                    let value: Value = crate::accounts::record::from_bytes(tables::ONE_TIME_KEYS, &json)?;
                    let key = Map::from_iter([(format!("{algorithm}:{id}"), value)]);
                    claimed.insert(device_id.clone(), key);
                }
            }
            // A key is given out only once it is durably gone; a fallback key that was used before changes nothing.
            if batch.is_empty() || commit(&self.store, batch).await?.is_some() {
                return Ok(claimed);
            }
        }
        Err(Error::contended())
    }
}

/// Key id and JSON of the key that a device gives next: the one-time key that was uploaded first, else the fallback key.
fn claim_one(
    batch: &mut Batch,
    snapshot: &Snapshot,
    user: UserKey,
    device_id: &str,
    algorithm: &str,
) -> Result<Option<(String, Vec<u8>)>> {
    let Some(before) = KeyState::read(snapshot, user, device_id)? else { return Ok(None) };
    let mut state = before.value.clone();
    let prefix = key::Writer::new().id16(user.as_bytes()).str(device_id).str(algorithm).finish();
    if let Some(row) = snapshot.scan_prefix(tables::ONE_TIME_KEYS, &prefix).next() {
        let (row, json) = row?;
        let (_, number, id) = parse_row(&row)?;
        batch.require_version(tables::ONE_TIME_KEYS, &row, Version::of(&json));
        batch.delete(tables::ONE_TIME_KEYS, &row);
        let remembered = row_key(user, device_id, algorithm, number, &id);
        batch.put(tables::CLAIMED_KEYS, &remembered, &Version::of(&json).0);
        if let Some(old) = number.checked_sub(REMEMBERED) {
            let end = [&prefix[..], &old.to_be_bytes()].concat();
            batch.delete_range(tables::CLAIMED_KEYS, &prefix, &end);
        }
        if let Some(count) = state.counts.get_mut(algorithm) {
            *count = count.saturating_sub(1);
        }
        state.write(batch, user, device_id, Some(&before));
        return Ok(Some((id, json.to_vec())));
    }
    let Some(fallback) = snapshot.get(tables::FALLBACK_KEYS, &prefix)? else { return Ok(None) };
    let mut reader = key::Reader::new(&fallback);
    let (id, json) = (reader.str()?, reader.tail().to_vec());
    if state.fallback_used.insert(algorithm.to_owned(), true) != Some(true) {
        batch.require_version(tables::FALLBACK_KEYS, &prefix, Version::of(&fallback));
        state.write(batch, user, device_id, Some(&before));
        // Sync tells the device to make a new one.
        batch.topic(crate::rooms::user_topic(user));
    }
    Ok(Some((id, json)))
}

/// What clients are told of a server that could not be asked.
pub(super) fn failure(because: &str) -> Value {
    json!({ "errcode": "M_UNKNOWN", "error": because })
}
