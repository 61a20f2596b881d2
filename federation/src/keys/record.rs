//! What we know of a server's keys, from everything it has published so far.

use std::{collections::BTreeMap, time::Duration};

use net::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use state_res::sign::VerifyKey;

use super::KeyDocument;
use crate::RawJson;

/// The longest that a key counts as valid after it was seen, whatever its server says: a stolen key can be revoked within this time.
pub const MAX_VALIDITY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The most keys that are remembered of one server; the oldest go first.
const MAX_KEYS: usize = 100;

/// A server's keys.
#[derive(Clone, Debug, Default)]
pub struct ServerKeys {
    /// When they were last fetched.
    pub fetched_at: Timestamp,
    /// Up to when the last document counts, the seven days applied.
    pub valid_until: Timestamp,
    /// Every key it has published, by id.
    pub keys: BTreeMap<String, KnownKey>,
    /// The last document, as the server signed it.
    pub document: Option<RawJson>,
}

/// When an event was made, as far as the key that signed it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventTime {
    /// The key must be known to have been valid then: room versions from 5 on.
    Within(Timestamp),
    /// It must only not be known to have expired before: room versions 1 to 4.
    NotAfter(Timestamp),
}

/// One key.
#[derive(Clone, Debug)]
pub struct KnownKey {
    /// The key.
    pub key: VerifyKey,
    /// The last moment for which it is known to be valid.
    pub valid_until: Timestamp,
    /// Whether its server has stopped using it, so that it signs no requests any more.
    pub is_old: bool,
    /// Whether its server says that it expired at `valid_until`; of one that only vanished, nobody knows when it did.
    pub has_expired: bool,
}

impl ServerKeys {
    /// Takes in a verified document, fetched now: `direct`ly from its server, or from a notary, who may have an older one.
    pub fn learn(&mut self, document: &KeyDocument, now: Timestamp, direct: bool) {
        let valid_until = document.valid_until.min(now.plus(MAX_VALIDITY));
        if direct {
            // What the server no longer lists, it no longer uses.
            let gone = self
                .keys
                .iter_mut()
                .filter(|(key_id, known)| !known.is_old && !document.verify_keys.contains_key(*key_id));
            for (_, known) in gone {
                known.is_old = true;
                known.valid_until = known.valid_until.min(now);
            }
        }
        for (key_id, (key, expired_at)) in &document.old_verify_keys {
            let known = KnownKey { key: key.clone(), valid_until: *expired_at, is_old: true, has_expired: true };
            self.keys.insert(key_id.clone(), known);
        }
        for (key_id, key) in &document.verify_keys {
            let known = KnownKey { key: key.clone(), valid_until, is_old: false, has_expired: false };
            // A document that was signed earlier, by way of a notary, must not shorten what a later one granted.
            let until = match self.keys.get(key_id) {
                Some(before) if !before.is_old && before.key.as_bytes() == key.as_bytes() => {
                    before.valid_until.max(valid_until)
                }
                _ => valid_until,
            };
            self.keys.insert(key_id.clone(), KnownKey { valid_until: until, ..known });
        }
        while self.keys.len() > MAX_KEYS {
            let oldest = self.keys.iter().min_by_key(|(_, known)| known.valid_until).map(|(key_id, _)| key_id.clone());
            let Some(oldest) = oldest else { break };
            self.keys.remove(&oldest);
        }
        self.fetched_at = now;
        self.valid_until = valid_until;
        self.document = Some(document.raw.clone());
    }

    /// The key, if it may sign requests at this moment.
    pub fn for_request(&self, key_id: &str, now: Timestamp) -> Option<&VerifyKey> {
        self.keys.get(key_id).filter(|known| !known.is_old && known.valid_until >= now).map(|known| &known.key)
    }

    /// The key, if it may have signed an event of this time.
    pub fn for_event(&self, key_id: &str, time: EventTime) -> Option<&VerifyKey> {
        let may_have = |known: &&KnownKey| match time {
            EventTime::Within(at) => known.valid_until >= at,
            EventTime::NotAfter(at) => known.valid_until >= at || !known.has_expired,
        };
        self.keys.get(key_id).filter(may_have).map(|known| &known.key)
    }

    /// The record as it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let keys = self.keys.iter().map(|(key_id, known)| {
            let stored = StoredKey {
                key: known.key.to_base64(),
                valid_until: known.valid_until.millis(),
                is_old: known.is_old,
                has_expired: known.has_expired,
            };
            (key_id.clone(), stored)
        });
        let stored = Stored {
            format: FORMAT,
            fetched_at: self.fetched_at.millis(),
            valid_until: self.valid_until.millis(),
            keys: keys.collect(),
            document: self.document.as_ref().and_then(|document| document.parse().ok()),
        };
        serde_json::to_vec(&stored).expect("string keys only, written to memory")
    }

    /// Reads a stored record; nothing if it is damaged or of a format that this version does not know, which costs a fetch.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        if stored.format != FORMAT {
            return None;
        }
        let mut keys = BTreeMap::new();
        for (key_id, known) in stored.keys {
            let key = VerifyKey::from_base64(&known.key).ok()?;
            let valid_until = Timestamp::from_millis(known.valid_until);
            keys.insert(key_id, KnownKey { key, valid_until, is_old: known.is_old, has_expired: known.has_expired });
        }
        Some(Self {
            fetched_at: Timestamp::from_millis(stored.fetched_at),
            valid_until: Timestamp::from_millis(stored.valid_until),
            keys,
            document: stored.document.map(RawJson::from),
        })
    }
}

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    fetched_at: u64,
    valid_until: u64,
    keys: BTreeMap<String, StoredKey>,
    document: Option<Box<RawValue>>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    key: String,
    valid_until: u64,
    #[serde(default)]
    is_old: bool,
    #[serde(default)]
    has_expired: bool,
}
