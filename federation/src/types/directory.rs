//! Aliases, published rooms, spaces.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Answer to `query/directory`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasAnswer {
    /// The room that the alias stands for.
    pub room_id: String,
    /// Servers that are likely in it.
    pub servers: Vec<String>,
}

/// Question of `publicRooms`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicRoomsRequest {
    /// The most rooms wanted; no limit if not given.
    pub limit: Option<u64>,
    /// Where an earlier answer left off.
    pub since: Option<String>,
    /// Text to search for in names, topics and aliases.
    pub search: Option<String>,
    /// Room types wanted, where nothing stands for rooms without a type; all if not given.
    pub room_types: Option<Vec<Option<String>>>,
    /// Whether rooms of all third-party networks are wanted.
    pub include_all_networks: bool,
    /// The one third-party network wanted.
    pub third_party_instance_id: Option<String>,
}

/// Answer to `hierarchy`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// Summary of the space, with `children_state`.
    pub room: Map<String, Value>,
    /// Summaries of the children that the asker could join or peek into.
    pub children: Vec<Map<String, Value>>,
    /// Ids of the children that it could not.
    pub inaccessible_children: Vec<String>,
}
