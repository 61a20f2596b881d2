//! Which stored events a client's filter lets pass.

use super::reader::RoomReader;
use super::record::StoredEvent;
use super::relations;
pub use crate::accounts::filters::RoomEventFilter as EventFilter;
use crate::accounts::filters::RoomFilter;
use crate::error::Result;
use state_res::ids::RoomKey;

/// Most relations to one event that a filter looks at.
const MAX_RELATIONS: usize = 1_000;

impl RoomFilter {
    /// Whether a room is wanted at all.
    #[must_use]
    pub fn wants(&self, room_id: &str) -> bool {
        !self.not_rooms.iter().any(|one| one == room_id)
            && self.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(|one| one == room_id))
    }
}

impl EventFilter {
    /// Whether an event of the room of `reader`, which is one that is wanted, passes.
    ///
    /// # Errors
    /// A failing store.
    pub fn matches(&self, reader: &RoomReader, event: &StoredEvent) -> Result<bool> {
        Ok(self.passes(event) && self.is_related_to(reader, event)?)
    }

    /// What the event itself says.
    fn passes(&self, event: &StoredEvent) -> bool {
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

    /// `related_by_rel_types` and `related_by_senders`: whether one event relates to this one as they say.
    fn is_related_to(&self, reader: &RoomReader, event: &StoredEvent) -> Result<bool> {
        let (kinds, senders) = (&self.related_by_rel_types, &self.related_by_senders);
        if kinds.is_none() && senders.is_none() {
            return Ok(true);
        }
        for relation in relations::of(reader, event.key()).take(MAX_RELATIONS) {
            let relation = relation?;
            if kinds.as_ref().is_some_and(|kinds| !kinds.contains(&relation.rel_type)) {
                continue;
            }
            let Some(child) = reader.stored(relation.child)? else { continue };
            if child.room() == event.room()
                && !child.is_redacted()
                && senders.as_ref().is_none_or(|senders| senders.contains(&child.sender()))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether anything of a room is wanted at all.
    #[must_use]
    pub fn wants_room(&self, room_id: &str) -> bool {
        self.wants(|one| one == room_id)
    }

    /// The same, of a room whose id is not at hand.
    pub(super) fn wants_room_of(&self, room: RoomKey) -> bool {
        self.wants(|one| RoomKey::of(one) == room)
    }

    fn wants(&self, is_room: impl Fn(&str) -> bool) -> bool {
        !self.not_rooms.iter().any(|one| is_room(one))
            && self.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(|one| is_room(one)))
    }
}
