//! The rows of accounts and devices, as stored.

use super::tokens::TokenHash;
use crate::{Error, Result, tables};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use state_res::ids::UserKey;
use storage::{Snapshot, Table, Version, key};

/// A row together with the version that a precondition names.
#[derive(Debug, Clone)]
pub(crate) struct Versioned<T> {
    pub(crate) value: T,
    pub(crate) version: Version,
}

/// A row of `ACCOUNTS`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AccountRecord {
    pub(crate) user_id: String,
    /// Argon2id in PHC form. None: no password opens this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub(crate) created_at: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) deactivated: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) administrator: bool,
}

/// A row of `DEVICES`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DeviceRecord {
    pub(crate) device_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) display_name: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub(crate) created_at: u64,
    /// Every access token of the device, so that they end with it.
    pub(crate) access_tokens: Vec<TokenHash>,
    /// Every refresh token of the device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) refresh_tokens: Vec<TokenHash>,
}

impl AccountRecord {
    pub(crate) fn read(snapshot: &Snapshot, user: UserKey) -> Result<Option<Versioned<Self>>> {
        read(snapshot, tables::ACCOUNTS, user.as_bytes())
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
}

impl DeviceRecord {
    pub(crate) fn read(snapshot: &Snapshot, user: UserKey, device_id: &str) -> Result<Option<Versioned<Self>>> {
        read(snapshot, tables::DEVICES, &device_key(user, device_id))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
}

/// The key of a device in `DEVICES` and `LAST_SEEN`.
pub(crate) fn device_key(user: UserKey, device_id: &str) -> Vec<u8> {
    key::Writer::new().id16(user.as_bytes()).str(device_id).finish()
}

/// Reads a JSON row.
pub(crate) fn read<T: DeserializeOwned>(snapshot: &Snapshot, table: Table, key: &[u8]) -> Result<Option<Versioned<T>>> {
    let Some(bytes) = snapshot.get(table, key)? else { return Ok(None) };
    Ok(Some(Versioned { value: from_bytes(table, &bytes)?, version: Version::of(&bytes) }))
}

/// Takes a JSON row apart.
pub(crate) fn from_bytes<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|cause| Error::internal(format!("a row of {} is damaged: {cause}", table.name)))
}

/// Writes a JSON row.
pub(crate) fn to_bytes(row: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(row).expect("rows are structs of strings, numbers and lists, which always serialise")
}
