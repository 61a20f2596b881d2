//! Texts that are no valid events.

use super::{
    MAX_PDU_TEXT_BYTES, Pdu,
    partial::{id_of, string_member},
};
use crate::{
    canonical_json::{Document, Numbers},
    room_version::{EventIdFormat, RoomVersion},
};

/// How deep a text may nest whose id is of interest although it is refused.
const MAX_NESTING: usize = 512;

/// The longest event id in bytes (client-server API, "Size limits").
const MAX_ID_BYTES: usize = 255;

impl Pdu {
    /// The id by which a text that [`Self::parse`] refuses would go, for whoever has to say which event is refused: in room versions 1 and
    /// 2 what it says of itself, later its reference hash, whatever numbers it holds and however deep it nests. `None` where nobody can
    /// tell.
    #[must_use]
    pub fn id_of_refused(version: RoomVersion, json: &[u8]) -> Option<String> {
        if json.len() > MAX_PDU_TEXT_BYTES {
            return None;
        }
        let document = Document::parse_within(json, MAX_NESTING).ok()?;
        if !document.is_object(Document::ROOT) {
            return None;
        }
        let mut canonical = Vec::with_capacity(json.len());
        document.write_object(Document::ROOT, Some("unsigned"), Numbers::Lenient, &mut canonical).ok()?;
        if version.rules().event_id == EventIdFormat::Sent {
            return string_member(&canonical, b"event_id").filter(|id| id.starts_with('$') && id.len() <= MAX_ID_BYTES);
        }
        Some(id_of(version, &canonical))
    }
}
