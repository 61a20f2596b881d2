//! Copies of one event. Its id and its signatures say nothing of most of its content, which the content hash does: of a copy with a wrong one,
//! the redacted form goes on (check 3 on receipt of a PDU). Any server can hand on such a copy, and before its sender hands on the true one. It
//! must not decide for good what we have of the event: a whole copy takes the place of a redacted one, and never the other way round.

use super::Peers;
use crate::error::{Error, Result};
use crate::rooms::reader::RoomReader;
use crate::rooms::redaction;
use crate::tables;
use state_res::ids::{EventKey, RoomKey};
use state_res::pdu::Pdu;
use state_res::sign::{ContentHash, compare_content_hash};
use state_res::steps::Checked;
use storage::{Batch, Version};

/// What is stored of an event.
struct Copy {
    event: Pdu,
    /// It is what was left of a copy with a wrong content hash, and not redacted by anyone in the room.
    is_blank: bool,
}

impl Peers {
    /// An event of which `origin` gave a copy with a wrong content hash: whole, if its sender's server has it so.
    pub(super) async fn whole(&self, origin: &str, copy: Checked) -> Result<Pdu> {
        let copy = copy.into_event();
        let (room_id, server) = (copy.room_id(), copy.sender_server());
        let reader = self.rooms.reader(RoomKey::of(room_id));
        if server == origin || server == self.server_name() || redaction::is_redacted(&reader, &copy)? {
            return Ok(copy);
        }
        let found = match self.client.event(server, copy.event_id()).await {
            Ok(found) => self.check_all(copy.version(), room_id, vec![found]).await.pop(),
            Err(error) => {
                tracing::info!(event = copy.event_id(), %error, "a whole copy of an event cannot be had from its sender's server");
                None
            }
        };
        let is_whole =
            |found: &Checked| found.event().key() == copy.key() && found.content_hash() == ContentHash::Matches;
        Ok(found.filter(is_whole).map_or(copy, Checked::into_event))
    }

    /// Whether all that is stored of an event is what was left of a copy with a wrong content hash.
    pub(super) fn is_blank(&self, room_id: &str, event_id: &str) -> Result<bool> {
        let reader = self.rooms.reader(RoomKey::of(room_id));
        Ok(stored_copy(&reader, EventKey::of(event_id))?.is_some_and(|copy| copy.is_blank))
    }

    /// Of each event the better copy, this one or the stored one; where this one is better, it is stored.
    pub(super) async fn better_copies(&self, events: Vec<Checked>) -> Vec<Checked> {
        let mut better = Vec::with_capacity(events.len());
        for checked in events {
            better.push(match self.better_copy(&checked).await {
                Ok(Some(stored)) => Checked::from_store(stored),
                Ok(None) => checked,
                Err(error) => {
                    tracing::warn!(event = checked.event().event_id(), %error, "a better copy of an event could not be kept");
                    checked
                }
            });
        }
        better
    }

    /// The stored copy, if that is better.
    async fn better_copy(&self, checked: &Checked) -> Result<Option<Pdu>> {
        let event = checked.event();
        let reader = self.rooms.reader(RoomKey::of(event.room_id()));
        let Some(stored) = stored_copy(&reader, event.key())? else { return Ok(None) };
        // In versions 1 and 2 senders choose the ids: another event of this id is no copy.
        if stored.event.reference_hash() != event.reference_hash() {
            return Ok(None);
        }
        match checked.content_hash() {
            ContentHash::Differs if !stored.is_blank => Ok(Some(stored.event)),
            ContentHash::Matches if stored.is_blank => {
                tracing::info!(event = event.event_id(), "a whole copy takes the place of what was left of another");
                self.replace_blank(event).await?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    async fn replace_blank(&self, event: &Pdu) -> Result<()> {
        let (room_id, room) = (event.room_id(), RoomKey::of(event.room_id()));
        if self.rooms.is_known(room_id)? {
            let lock = self.lock(room);
            let _turn = lock.lock().await;
            return self.rooms.write(room_id, |writer| writer.replace_bytes(event)).await.map(|_| ());
        }
        // Of a room that we are about to join.
        let reader = self.rooms.reader(room);
        let Some(stored) = reader.stored(event.key())? else { return Ok(()) };
        let mut batch = Batch::with_random_id(self.world());
        batch.require_version(tables::PDUS, event.key().as_bytes(), Version::of(stored.bytes()));
        batch.put(tables::PDUS, event.key().as_bytes(), redaction::to_be_stored(&reader, event)?.bytes());
        self.commit(batch).await?;
        self.rooms.deps().caches.forget_events(room, &[event.key()]);
        Ok(())
    }
}

fn stored_copy(reader: &RoomReader, key: EventKey) -> Result<Option<Copy>> {
    let Some(stored) = reader.stored(key)?.filter(|stored| stored.room() == reader.room()) else { return Ok(None) };
    let event = reader.pdu(key)?.ok_or_else(|| Error::internal("an event cannot be read that was just there"))?;
    let is_blank = !stored.is_redacted() && compare_content_hash(&event) == ContentHash::Differs;
    Ok(Some(Copy { event, is_blank }))
}
