//! Room key backups: their versions (client-server API, "Server-side key backups").
//!
//! Everybody who changes a backup changes its version's row, whose etag grows: that is where writers meet.

use super::Keys;
use crate::accounts::{MAX_COMMIT_ATTEMPTS, Versioned, commit, record};
use crate::error::{Error, Result};
use crate::tables;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use state_res::ids::UserKey;
use storage::{Batch, Snapshot, key};

/// Versions of one user's backup, deleted ones too.
const MAX_VERSIONS: u64 = 10_000;
/// Bytes of `auth_data`.
const MAX_AUTH_DATA_BYTES: usize = 64 * 1024;
/// Bytes of an algorithm's name.
const MAX_ALGORITHM_BYTES: usize = 255;

/// What a client says of a backup.
#[derive(Debug, Clone, Deserialize)]
pub struct BackupDescription {
    /// How its keys are encrypted.
    pub algorithm: String,
    /// What that algorithm needs.
    pub auth_data: Map<String, Value>,
    /// The version, where the path says it too.
    pub version: Option<String>,
}

/// A backup as its owner sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Backup {
    /// How its keys are encrypted.
    pub algorithm: String,
    /// What that algorithm needs.
    pub auth_data: Map<String, Value>,
    /// Number of keys.
    pub count: u64,
    /// Different after each change of its keys.
    pub etag: String,
    /// Its version.
    pub version: String,
}

/// The answer to changes of a backup's keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupState {
    /// Number of keys.
    pub count: u64,
    /// Different after each change.
    pub etag: String,
}

/// A row of `BACKUP_VERSIONS`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct VersionRow {
    algorithm: String,
    auth_data: Map<String, Value>,
    /// Grows with every change of the row, so that no two values of it are equal.
    pub(super) etag: u64,
    pub(super) count: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

impl VersionRow {
    pub(super) fn state(&self) -> BackupState {
        BackupState { count: self.count, etag: self.etag.to_string() }
    }

    fn read(snapshot: &Snapshot, user: UserKey, version: u64) -> Result<Option<Versioned<Self>>> {
        record::read(snapshot, tables::BACKUP_VERSIONS, &version_key(user, version))
    }

    /// A version that is not deleted.
    pub(super) fn existing(snapshot: &Snapshot, user: UserKey, version: u64) -> Result<Versioned<Self>> {
        let row = Self::read(snapshot, user, version)?.filter(|row| !row.value.deleted);
        row.ok_or_else(|| Error::not_found(format!("You have no backup of version {version}.")))
    }

    /// The latest version that is not deleted.
    pub(super) fn current(snapshot: &Snapshot, user: UserKey) -> Result<Option<(u64, Self)>> {
        for row in snapshot.scan_prefix_rev(tables::BACKUP_VERSIONS, user.as_bytes()) {
            let (row, value) = row?;
            let value: Self = record::from_bytes(tables::BACKUP_VERSIONS, &value)?;
            if !value.deleted {
                return Ok(Some((number_of(&row)?, value)));
            }
        }
        Ok(None)
    }

    /// Adds to `batch` that the row, as `before` had it, becomes this.
    pub(super) fn write(mut self, batch: &mut Batch, user: UserKey, version: u64, before: &Versioned<Self>) -> Self {
        let key = version_key(user, version);
        self.etag += 1;
        batch.require_version(tables::BACKUP_VERSIONS, &key, before.version);
        batch.put(tables::BACKUP_VERSIONS, &key, &record::to_bytes(&self));
        self
    }

    fn view(self, version: u64) -> Backup {
        let BackupState { count, etag } = self.state();
        Backup { algorithm: self.algorithm, auth_data: self.auth_data, count, etag, version: version.to_string() }
    }
}

impl Keys {
    /// `POST /room_keys/version`: begins a new backup, into which keys go from now on; gives its version.
    ///
    /// # Errors
    ///
    /// 400 `M_INVALID_PARAM`, 413 `M_TOO_LARGE`, 403 `M_FORBIDDEN` after too many.
    pub async fn create_backup(&self, user_id: &str, description: &BackupDescription) -> Result<String> {
        check(description)?;
        let user = UserKey::of(user_id);
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let last = snapshot.scan_prefix_rev(tables::BACKUP_VERSIONS, user.as_bytes()).next().transpose()?;
            let version = last.map(|(row, _)| number_of(&row)).transpose()?.unwrap_or(0) + 1;
            if version > MAX_VERSIONS {
                return Err(Error::forbidden(format!("You have made {MAX_VERSIONS} backups, which is the most.")));
            }
            let row = VersionRow {
                algorithm: description.algorithm.clone(),
                auth_data: description.auth_data.clone(),
                etag: 0,
                count: 0,
                deleted: false,
            };
            let key = version_key(user, version);
            let mut batch = Batch::with_random_id(&self.world);
            batch.require_absent(tables::BACKUP_VERSIONS, &key);
            batch.put(tables::BACKUP_VERSIONS, &key, &record::to_bytes(&row));
            if commit(&self.store, batch).await?.is_some() {
                return Ok(version.to_string());
            }
        }
        Err(Error::contended())
    }

    /// `GET /room_keys/version` and `GET /room_keys/version/{version}`: a backup, the latest one if no version is given.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND`.
    pub fn backup(&self, user_id: &str, version: Option<&str>) -> Result<Backup> {
        let (snapshot, user) = (self.store.snapshot(), UserKey::of(user_id));
        match version {
            Some(version) => {
                let number = number(version)?;
                Ok(VersionRow::existing(&snapshot, user, number)?.value.view(number))
            }
            None => {
                let current = VersionRow::current(&snapshot, user)?;
                let (number, row) = current.ok_or_else(|| Error::not_found("You have no backup."))?;
                Ok(row.view(number))
            }
        }
    }

    /// `PUT /room_keys/version/{version}`: replaces `auth_data`.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND`; 400 `M_INVALID_PARAM` for another algorithm or another version in the body.
    pub async fn update_backup(&self, user_id: &str, version: &str, description: &BackupDescription) -> Result<()> {
        check(description)?;
        let (user, number) = (UserKey::of(user_id), number(version)?);
        if description.version.as_deref().is_some_and(|other| other != version) {
            return Err(Error::invalid_param("`version` is not the version in the path."));
        }
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let before = VersionRow::existing(&snapshot, user, number)?;
            if before.value.algorithm != description.algorithm {
                return Err(Error::invalid_param(format!("The backup's `algorithm` is {:?}.", before.value.algorithm)));
            }
            let mut batch = Batch::with_random_id(&self.world);
            let row = VersionRow { auth_data: description.auth_data.clone(), ..before.value.clone() };
            row.write(&mut batch, user, number, &before);
            if commit(&self.store, batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::contended())
    }

    /// `DELETE /room_keys/version/{version}`: deletes a backup with its keys. Deleting it again succeeds.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND` if there never was one.
    pub async fn delete_backup(&self, user_id: &str, version: &str) -> Result<()> {
        let (user, number) = (UserKey::of(user_id), number(version)?);
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let before = VersionRow::read(&snapshot, user, number)?
                .ok_or_else(|| Error::not_found(format!("You have no backup of version {version}.")))?;
            if before.value.deleted {
                return Ok(());
            }
            let mut batch = Batch::with_random_id(&self.world);
            let row = VersionRow { deleted: true, count: 0, auth_data: Map::new(), ..before.value.clone() };
            row.write(&mut batch, user, number, &before);
            let keys = version_key(user, number);
            batch.delete_range(tables::BACKUP_KEYS, &keys, &key::prefix_end(&keys));
            if commit(&self.store, batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::contended())
    }
}

fn check(description: &BackupDescription) -> Result<()> {
    if description.algorithm.is_empty() || description.algorithm.len() > MAX_ALGORITHM_BYTES {
        return Err(Error::invalid_param(format!("`algorithm` must have 1 to {MAX_ALGORITHM_BYTES} bytes.")));
    }
    if record::to_bytes(&description.auth_data).len() > MAX_AUTH_DATA_BYTES {
        return Err(Error::too_large(format!("`auth_data` has more than {MAX_AUTH_DATA_BYTES} bytes.")));
    }
    Ok(())
}

/// The number of a version as clients write it.
pub(super) fn number(version: &str) -> Result<u64> {
    let number = version.parse().ok().filter(|number: &u64| number.to_string() == version);
    number.ok_or_else(|| Error::not_found("You have no backup of this version."))
}

fn version_key(user: UserKey, version: u64) -> Vec<u8> {
    key::Writer::new().id16(user.as_bytes()).u64(version).finish()
}

fn number_of(row: &[u8]) -> Result<u64> {
    let mut row = key::Reader::new(row);
    row.id16()?;
    Ok(row.u64()?)
}
