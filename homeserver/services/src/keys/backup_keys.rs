//! Room key backups: the keys in them.

use super::Keys;
use super::backup::{BackupState, VersionRow, number};
use crate::accounts::{MAX_COMMIT_ATTEMPTS, Versioned, commit, record};
use crate::error::{Error, Result};
use crate::names::is_room_id;
use crate::tables;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use state_res::ids::UserKey;
use std::collections::BTreeMap;
use storage::{Batch, Snapshot, key};

/// Bytes of one key.
const MAX_KEY_BYTES: usize = 64 * 1024;
/// Bytes of a session id.
const MAX_SESSION_ID_BYTES: usize = 255;
/// Bytes of keys after which a step ends. Each step is complete in itself: storing a key again changes nothing.
const STEP_BYTES: usize = 256 * 1024;

/// A key of a backup (`KeyBackupData`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackedUpKey {
    /// The first message that it can decrypt.
    pub first_message_index: u64,
    /// How often it has been forwarded.
    pub forwarded_count: u64,
    /// Whether it came from a device that was verified.
    pub is_verified: bool,
    /// The encrypted key.
    pub session_data: Map<String, Value>,
}

/// For each room, for each session, its key.
pub type RoomKeys = BTreeMap<String, BTreeMap<String, BackedUpKey>>;

impl BackedUpKey {
    /// Whether it takes the place of a key that is there: verified goes before unverified, then the lower first message index, then the
    /// lower forwarded count.
    fn is_better_than(&self, there: &Self) -> bool {
        let rank = |key: &Self| (!key.is_verified, key.first_message_index, key.forwarded_count);
        rank(self) < rank(there)
    }
}

/// Which keys of a backup are meant.
#[derive(Debug, Clone, Copy)]
pub enum BackupPart<'a> {
    /// All.
    All,
    /// Those of a room.
    Room(&'a str),
    /// That of one session of a room.
    Session(&'a str, &'a str),
}

impl BackupPart<'_> {
    /// The prefix of the rows.
    fn prefix(self, user: UserKey, version: u64) -> Vec<u8> {
        let writer = key::Writer::new().id16(user.as_bytes()).u64(version);
        match self {
            Self::All => writer,
            Self::Room(room_id) => writer.str(room_id),
            Self::Session(room_id, session_id) => writer.str(room_id).str(session_id),
        }
        .finish()
    }
}

impl Keys {
    /// Stores keys in a backup, which must be the latest. A key that is there already stays unless the new one is better.
    ///
    /// # Errors
    ///
    /// 403 `M_WRONG_ROOM_KEYS_VERSION` with `current_version`, 404 `M_NOT_FOUND` without any backup; 400 `M_INVALID_PARAM`, 413 `M_TOO_LARGE` for a
    /// key that cannot be, and nothing is stored then.
    pub async fn store_backup_keys(&self, user_id: &str, version: &str, keys: &RoomKeys) -> Result<BackupState> {
        let user = UserKey::of(user_id);
        let mut rows = Vec::new();
        for (room_id, sessions) in keys {
            for (session_id, key) in sessions {
                if !is_room_id(room_id) || session_id.is_empty() || session_id.len() > MAX_SESSION_ID_BYTES {
                    return Err(Error::invalid_param(format!(
                        "A room id or session id cannot be: {:?}, {:?}.",
                        crate::accounts::names::beginning(room_id, 80),
                        crate::accounts::names::beginning(session_id, 80)
                    )));
                }
                let json = record::to_bytes(key);
                if json.len() > MAX_KEY_BYTES {
                    return Err(Error::too_large(format!("A key has more than {MAX_KEY_BYTES} bytes.")));
                }
                rows.push((room_id.as_str(), session_id.as_str(), key, json));
            }
        }
        let queue = self.queue(user);
        let _turn = queue.lock().await;
        let mut conflicts = 0;
        let mut done = 0;
        while conflicts < MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let (number, before) = self.latest(&snapshot, user, version)?;
            let mut row = before.value.clone();
            let mut batch = Batch::with_random_id(&self.world);
            let mut bytes = 0;
            let mut next = done;
            while let Some((room_id, session_id, new, json)) = rows.get(next)
                && bytes < STEP_BYTES
            {
                let place = BackupPart::Session(room_id, session_id).prefix(user, number);
                let there = record::read::<BackedUpKey>(&snapshot, tables::BACKUP_KEYS, &place)?;
                if there.as_ref().is_none_or(|there| new.is_better_than(&there.value)) {
                    batch.put(tables::BACKUP_KEYS, &place, json);
                    row.count += u64::from(there.is_none());
                    bytes += place.len() + json.len();
                }
                next += 1;
            }
            if !batch.is_empty() {
                row = row.write(&mut batch, user, number, &before);
                if commit(&self.store, batch).await?.is_none() {
                    conflicts += 1;
                    continue;
                }
            }
            done = next;
            if done >= rows.len() {
                return Ok(row.state());
            }
        }
        Err(Error::contended())
    }

    /// Keys of a backup, of whatever version, as far as they are there.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND` if there is no such backup.
    pub async fn backup_keys(&self, user_id: &str, version: &str, part: BackupPart<'_>) -> Result<RoomKeys> {
        let (user, number) = (UserKey::of(user_id), number(version)?);
        let prefix = part.prefix(user, number);
        let single = matches!(part, BackupPart::Session(..));
        let work = move |snapshot: &Snapshot| {
            VersionRow::existing(snapshot, user, number)?;
            let mut keys = RoomKeys::new();
            for row in snapshot.scan_prefix(tables::BACKUP_KEYS, &prefix) {
                let (row, value) = row?;
                if single && row.len() != prefix.len() {
                    continue;
                }
                let mut row = key::Reader::new(&row);
                let _ = (row.id16()?, row.u64()?);
                let (room_id, session_id) = (row.str()?, row.str()?);
                let key = record::from_bytes(tables::BACKUP_KEYS, &value)?;
                keys.entry(room_id).or_default().insert(session_id, key);
            }
            Ok(keys)
        };
        self.store.read(work).await
    }

    /// Deletes keys of a backup, of whatever version.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND` if there is no such backup.
    pub async fn delete_backup_keys(&self, user_id: &str, version: &str, part: BackupPart<'_>) -> Result<BackupState> {
        let (user, number) = (UserKey::of(user_id), number(version)?);
        let prefix = part.prefix(user, number);
        let queue = self.queue(user);
        let _turn = queue.lock().await;
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let before = VersionRow::existing(&snapshot, user, number)?;
            let mut gone = 0;
            for row in snapshot.scan_prefix(tables::BACKUP_KEYS, &prefix) {
                row?;
                gone += 1;
            }
            if gone == 0 {
                return Ok(before.value.state());
            }
            let mut batch = Batch::with_random_id(&self.world);
            batch.delete_range(tables::BACKUP_KEYS, &prefix, &key::prefix_end(&prefix));
            let mut row = before.value.clone();
            row.count = row.count.saturating_sub(gone);
            let row = row.write(&mut batch, user, number, &before);
            if commit(&self.store, batch).await?.is_some() {
                return Ok(row.state());
            }
        }
        Err(Error::contended())
    }

    /// The latest version, which must be the one that the client means.
    fn latest(&self, snapshot: &Snapshot, user: UserKey, version: &str) -> Result<(u64, Versioned<VersionRow>)> {
        let current = VersionRow::current(snapshot, user)?;
        let (current, _) = current.ok_or_else(|| Error::not_found("You have no backup."))?;
        if current.to_string() != version {
            let message = format!("Keys go to the latest version of the backup only, which is {current}.");
            return Err(
                Error::new(403, "M_WRONG_ROOM_KEYS_VERSION", message).with("current_version", current.to_string())
            );
        }
        Ok((current, VersionRow::existing(snapshot, user, current)?))
    }
}
