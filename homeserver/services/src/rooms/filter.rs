//! Filters of events ("RoomEventFilter", "EventFilter").

use super::record::StoredEvent;
use serde::{Deserialize, Serialize};

/// Which events a client wants.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct EventFilter {
    /// Most events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Types wanted; `*` stands for any text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// Types not wanted.
    pub not_types: Vec<String>,
    /// Senders wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub senders: Option<Vec<String>>,
    /// Senders not wanted.
    pub not_senders: Vec<String>,
    /// Rooms wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rooms: Option<Vec<String>>,
    /// Rooms not wanted.
    pub not_rooms: Vec<String>,
    /// Only events with a `url` in their content, or only those without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains_url: Option<bool>,
    /// Leave out members that the client does not need.
    pub lazy_load_members: bool,
    /// Send members again that the client was sent before.
    pub include_redundant_members: bool,
    /// Count threads apart.
    pub unread_thread_notifications: bool,
}

impl EventFilter {
    /// Whether the filter lets everything pass.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.types.is_none()
            && self.not_types.is_empty()
            && self.senders.is_none()
            && self.not_senders.is_empty()
            && self.contains_url.is_none()
    }

    /// Whether an event passes.
    #[must_use]
    pub fn matches(&self, event: &StoredEvent) -> bool {
        self.is_empty() || {
            let has_url = || event.content().get("url").is_some_and(serde_json::Value::is_string);
            self.matches_parts(&event.event_type(), &event.sender(), has_url)
        }
    }

    /// [`Self::matches`] on an event's parts.
    pub fn matches_parts(&self, event_type: &str, sender: &str, has_url: impl FnOnce() -> bool) -> bool {
        let named = |patterns: &[String]| patterns.iter().any(|pattern| matches_pattern(pattern, event_type));
        !named(&self.not_types)
            && self.types.as_deref().is_none_or(named)
            && !self.not_senders.iter().any(|one| one == sender)
            && self.senders.as_ref().is_none_or(|senders| senders.iter().any(|one| one == sender))
            && self.contains_url.is_none_or(|wanted| wanted == has_url())
    }

    /// Whether events of a room are wanted at all.
    #[must_use]
    pub fn wants_room(&self, room_id: &str) -> bool {
        !self.not_rooms.iter().any(|one| one == room_id)
            && self.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(|one| one == room_id))
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any run of characters.
#[must_use]
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::matches_pattern;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("m.room.*", "m.room.message", true),
            ("m.room.*", "m.room", false),
            ("*", "", true),
            ("m.*.x", "m.a.b.x", true),
            ("m.*.x", "m.a.b.y", false),
            ("m.room.message", "m.room.message", true),
            ("m.room.message", "m.room.message2", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches_pattern(pattern, text), expected, "{pattern} {text}");
        }
    }
}
