//! The filter of a sync ("Filter").

use crate::rooms::filter::EventFilter;
use serde::{Deserialize, Serialize};

/// Events of a room's timeline in one answer, where the filter does not say.
pub const DEFAULT_TIMELINE_LIMIT: u64 = 20;
/// Most events of a room's timeline in one answer.
pub const MAX_TIMELINE_LIMIT: u64 = 500;

/// What a client wants of a sync.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct SyncFilter {
    /// Global account data.
    pub account_data: EventFilter,
    /// Presence.
    pub presence: EventFilter,
    /// Rooms.
    pub room: RoomFilter,
    /// `client` or `federation`.
    pub event_format: Option<String>,
    /// Members of events to keep; a hint that we do not take.
    pub event_fields: Option<Vec<String>>,
}

/// What a client wants of rooms.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RoomFilter {
    /// Rooms not wanted.
    pub not_rooms: Vec<String>,
    /// Rooms wanted.
    pub rooms: Option<Vec<String>>,
    /// Whether left rooms are part of an initial sync.
    pub include_leave: bool,
    /// Timelines.
    pub timeline: EventFilter,
    /// State.
    pub state: EventFilter,
    /// Receipts and typing.
    pub ephemeral: EventFilter,
    /// Account data of rooms.
    pub account_data: EventFilter,
}

impl RoomFilter {
    /// Whether a room is wanted.
    #[must_use]
    pub fn wants(&self, room_id: &str) -> bool {
        !self.not_rooms.iter().any(|one| one == room_id)
            && self.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(|one| one == room_id))
    }

    /// Most events of a timeline.
    #[must_use]
    pub fn timeline_limit(&self) -> usize {
        // At most 500, which fits.
        self.timeline.limit.unwrap_or(DEFAULT_TIMELINE_LIMIT).min(MAX_TIMELINE_LIMIT) as usize
    }
}
