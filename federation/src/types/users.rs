//! Users' devices and keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Question of `user/keys/query`: for each user the devices asked for; none means all.
pub type DeviceKeyRequest = BTreeMap<String, Vec<String>>;

/// Question of `user/keys/claim`: for each user, for each device, the algorithm.
pub type KeyClaimRequest = BTreeMap<String, BTreeMap<String, String>>;

/// Answer to `user/keys/query`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserKeys {
    /// For each user, for each device, its keys.
    pub device_keys: BTreeMap<String, BTreeMap<String, Value>>,
    /// Each user's master key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub master_keys: BTreeMap<String, Value>,
    /// Each user's self-signing key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub self_signing_keys: BTreeMap<String, Value>,
}

/// Answer to `user/keys/claim`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClaimedKeys {
    /// For each user, for each device, one key by `algorithm:id`.
    pub one_time_keys: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
}

/// Answer to `user/devices`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserDevices {
    /// Whose devices these are.
    pub user_id: String,
    /// The latest `m.device_list_update` that this answer includes.
    pub stream_id: i64,
    /// The devices.
    pub devices: Vec<UserDevice>,
    /// The user's master key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_key: Option<Value>,
    /// The user's self-signing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_signing_key: Option<Value>,
}

/// One device of [`UserDevices`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserDevice {
    /// Its id.
    pub device_id: String,
    /// Its identity keys.
    pub keys: Value,
    /// Its public name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_display_name: Option<String>,
}
