//! Which stored events a client's filter lets pass.

use super::record::StoredEvent;
pub use crate::accounts::filters::RoomEventFilter as EventFilter;
use crate::accounts::filters::RoomFilter;

impl RoomFilter {
    /// Whether a room is wanted at all.
    #[must_use]
    pub fn wants(&self, room_id: &str) -> bool {
        !self.not_rooms.iter().any(|one| one == room_id)
            && self.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(|one| one == room_id))
    }
}

impl EventFilter {
    /// Whether an event passes.
    #[must_use]
    pub fn matches(&self, event: &StoredEvent) -> bool {
        let common = &self.events;
        let by_type = common.types.is_none() && common.not_types.is_empty() || common.allows_type(&event.event_type());
        let by_sender =
            common.senders.is_none() && common.not_senders.is_empty() || common.allows_sender(&event.sender());
        by_type
            && by_sender
            && self
                .contains_url
                .is_none_or(|wanted| wanted == event.content().get("url").is_some_and(serde_json::Value::is_string))
    }

    /// Whether events of a room are wanted at all.
    #[must_use]
    pub fn wants_room(&self, room_id: &str) -> bool {
        !self.not_rooms.iter().any(|one| one == room_id)
            && self.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(|one| one == room_id))
    }
}
