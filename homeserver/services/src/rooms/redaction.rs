//! Whether a redaction takes effect on an event (room versions, "Handling redactions").

use super::reader::RoomReader;
use crate::error::Result;
use crate::names::server_of;
use state_res::auth::Level;
use state_res::ids::EventKey;
use state_res::pdu::Pdu;
use state_res::tree::Root;

/// Whether `redaction`, accepted in the state `root`, may redact `target`: its sender has the power to redact, or comes from
/// the same server as the sender of `target`.
pub fn allowed(reader: &RoomReader, root: Root, redaction: &Pdu, target: &Pdu) -> Result<bool> {
    if redaction.room_id() != target.room_id() || target.event_type() == "m.room.create" {
        return Ok(false);
    }
    if server_of(redaction.sender()) == server_of(target.sender()) {
        return Ok(true);
    }
    Ok(super::power::Power::at(reader, root)?.may(redaction.sender(), Level::Redact))
}

/// Whether the redaction whose key is the row `redaction` takes effect on `target`, which arrived after it.
pub fn applies(reader: &RoomReader, root: Root, redaction: &[u8], target: &Pdu) -> Result<bool> {
    let Ok(key) = <[u8; 16]>::try_from(redaction) else { return Ok(false) };
    match reader.pdu(EventKey::from_bytes(key))? {
        Some(redaction) => allowed(reader, root, &redaction, target),
        None => Ok(false),
    }
}
