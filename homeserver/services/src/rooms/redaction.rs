//! Whether a redaction takes effect on an event (room versions, "Handling redactions").

use super::reader::RoomReader;
use crate::error::Result;
use crate::names::server_of;
use crate::tables;
use state_res::auth::Level;
use state_res::ids::EventKey;
use state_res::pdu::Pdu;
use state_res::tree::Root;

/// Whether `redaction`, which was accepted, may redact `target`. In room versions 1 and 2 the authorisation rules have decided that. From
/// version 3 on it may if its sender has the power to redact in the state `root`, or comes from the same server as the sender of `target`.
pub fn allowed(reader: &RoomReader, root: Root, redaction: &Pdu, target: &Pdu) -> Result<bool> {
    if redaction.room_id() != target.room_id() || target.event_type() == "m.room.create" {
        return Ok(false);
    }
    let is_decided = redaction.version().rules().auth.special_redaction;
    if is_decided || server_of(redaction.sender()) == server_of(target.sender()) {
        return Ok(true);
    }
    Ok(super::power::Power::at(reader, root)?.may(redaction.sender(), Level::Redact))
}

/// Most redactions of one event that are looked at.
const MAX_REDACTIONS: usize = 1_000;

/// Key of the row which says that `redaction` names `target`.
#[must_use]
pub fn row(target: EventKey, redaction: EventKey) -> Vec<u8> {
    let mut row = target.as_bytes().to_vec();
    row.extend_from_slice(redaction.as_bytes());
    row
}

/// The redaction that takes effect on `target`, of those that are known: anybody can name any event in a redaction, also before it
/// arrives. `root` is the room's current state.
pub fn effective(reader: &RoomReader, root: Root, target: &Pdu) -> Result<Option<EventKey>> {
    for row in reader.snapshot().scan_prefix(tables::REDACTIONS, target.key().as_bytes()).take(MAX_REDACTIONS) {
        let (row, _) = row?;
        let Some(key) = row.get(16..).and_then(|key| <[u8; 16]>::try_from(key).ok()).map(EventKey::from_bytes) else {
            continue;
        };
        if let Some(redaction) = reader.pdu(key)?
            && allowed(reader, root, &redaction, target)?
        {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// The redaction to name beside `target`, which was redacted: the one that takes effect, or if that no longer can be told (levels change)
/// the first that is known.
pub fn because(reader: &RoomReader, root: Root, target: &Pdu) -> Result<Option<EventKey>> {
    if let Some(effective) = effective(reader, root, target)? {
        return Ok(Some(effective));
    }
    let first = reader.snapshot().scan_prefix(tables::REDACTIONS, target.key().as_bytes()).next().transpose()?;
    Ok(first.and_then(|(row, _)| row.get(16..)?.try_into().ok()).map(EventKey::from_bytes))
}
