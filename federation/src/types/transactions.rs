//! Transactions, and what a server is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Answer to `send`: how each PDU fared, by event id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionAnswer {
    /// By event id.
    #[serde(default)]
    pub pdus: BTreeMap<String, PduResult>,
}

/// How one PDU of a transaction fared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PduResult {
    /// What went wrong; nothing if the PDU was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl PduResult {
    /// The PDU was handled.
    pub fn handled() -> Self {
        Self::default()
    }

    /// The PDU was not accepted, for this reason.
    pub fn refused(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()) }
    }
}

/// Answer to `version`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerVersion {
    /// The implementation's name.
    #[serde(default)]
    pub name: Option<String>,
    /// Its version.
    #[serde(default)]
    pub version: Option<String>,
}
