//! Fetching events and state.

use serde::{Deserialize, Serialize};

use crate::RawJson;

/// Question of `get_missing_events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingEventsRequest {
    /// The most events wanted.
    #[serde(default = "MissingEventsRequest::default_limit")]
    pub limit: u64,
    /// The least depth wanted.
    #[serde(default)]
    pub min_depth: i64,
    /// What the asker has: the walk stops there.
    pub earliest_events: Vec<String>,
    /// Where the walk along `prev_events` begins; these are not wanted themselves.
    pub latest_events: Vec<String>,
}

impl MissingEventsRequest {
    fn default_limit() -> u64 {
        10
    }
}

/// Answer to `state`: the state before an event.
#[derive(Clone, Debug, Deserialize)]
pub struct StateAnswer {
    /// The state events.
    #[serde(deserialize_with = "crate::crowded::pdus")]
    pub pdus: Vec<RawJson>,
    /// Their auth chains.
    #[serde(deserialize_with = "crate::crowded::pdus")]
    pub auth_chain: Vec<RawJson>,
}

/// Answer to `state_ids`: the same as ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateIds {
    /// Ids of the state events.
    #[serde(deserialize_with = "crate::crowded::event_ids")]
    pub pdu_ids: Vec<String>,
    /// Ids of their auth chains.
    #[serde(deserialize_with = "crate::crowded::event_ids")]
    pub auth_chain_ids: Vec<String>,
}

/// Which way `timestamp_to_event` looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To later events.
    Forwards,
    /// To earlier events.
    Backwards,
}

impl Direction {
    /// `f` or `b`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forwards => "f",
            Self::Backwards => "b",
        }
    }
}

/// Answer to `timestamp_to_event`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventAtTime {
    /// The event nearest to the time asked for.
    pub event_id: String,
    /// Its time, in milliseconds since the Unix epoch.
    pub origin_server_ts: i64,
}
