//! Copies of one event. Its id and its signatures say nothing of most of its content, which the content hash does: of a copy with a wrong one,
//! the redacted form goes on (check 3 on receipt of a PDU). Any server can hand on such a copy, and before its sender hands on the true one. It
//! must not decide for good what we have of the event: a whole copy takes the place of a redacted one, and never the other way round.

use super::Peers;
use super::judge::is_spoilt;
use crate::error::{Error, Result};
use crate::rooms::reader::RoomReader;
use crate::rooms::redaction::{self, Place};
use crate::tables;
use futures::{FutureExt, StreamExt};
use state_res::ids::{EventKey, RoomKey};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use state_res::sign::{ContentHash, compare_content_hash};
use state_res::steps::{Checked, Received};
use std::collections::HashMap;
use std::time::Duration;
use storage::{Batch, Version};

/// As many events as may come live at a time; more are a state, or history.
const FEW: usize = 1;
/// Types of events whose content matters so much that whole copies are asked for wherever others turn up.
const MATTERING: [&str; 8] = [
    "m.room.encryption",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.room.name",
    "m.room.power_levels",
    "m.room.server_acl",
    "m.room.third_party_invite",
    "m.room.topic",
];
/// Most events of which whole copies are asked for at a time.
const MAX_ASKED: usize = 16;
/// How long it takes at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is stored of an event.
struct Copy {
    event: Pdu,
    /// It is what was left of a copy with a wrong content hash, and not redacted by anyone in the room.
    is_blank: bool,
}

impl Peers {
    /// Of events that `from` gave with a wrong content hash, the whole ones, as far as their senders' servers have them and they matter: all of a few events that
    /// come live, and of many only those on which it depends what the room is and who may do what in it.
    pub(super) async fn whole(&self, from: &str, version: RoomVersion, events: Vec<Checked>) -> Vec<Checked> {
        let is_live = events.len() <= FEW;
        let mut wanted = Vec::new();
        for checked in &events {
            let event = checked.event();
            let matters = is_live || MATTERING.contains(&event.event_type());
            if matters
                && checked.content_hash() == ContentHash::Differs
                && ![from, self.server_name()].contains(&event.sender_server())
                && wanted.len() < MAX_ASKED
                && matches!(is_spoilt(&self.rooms.reader(RoomKey::of(event.room_id())), event), Ok(true))
            {
                wanted.push((
                    event.sender_server().to_owned(),
                    event.event_id().to_owned(),
                    event.room_id().to_owned(),
                ));
            }
        }
        if wanted.is_empty() {
            return events;
        }
        let mut found: HashMap<EventKey, Checked> = HashMap::new();
        let asking = async {
            let mut answers = futures::stream::iter(wanted)
                .map(|(server, id, room_id)| self.whole_from(version, server, id, room_id).boxed())
                .buffer_unordered(MAX_ASKED);
            while let Some(answer) = answers.next().await {
                found.extend(answer.map(|whole| (whole.event().key(), whole)));
            }
        };
        if self.world().timeout(PATIENCE, asking).await.is_err() {
            tracing::info!("whole copies of some events cannot be had in time from their senders' servers");
        }
        events.into_iter().map(|event| found.remove(&event.event().key()).unwrap_or(event)).collect()
    }

    /// An event as its sender's server has it, if that is whole.
    async fn whole_from(&self, version: RoomVersion, server: String, id: String, room_id: String) -> Option<Checked> {
        match self.client.event(&server, &id).await {
            Ok(found) => {
                let found = Received::parse(version, found.as_bytes()).ok()?;
                if found.event().event_id() != id || found.event().room_id() != room_id {
                    return None;
                }
                self.check_copies(vec![found]).await.pop().filter(|found| found.content_hash() == ContentHash::Matches)
            }
            Err(error) => {
                tracing::info!(event = %id, %error, "a whole copy of an event cannot be had from its sender's server");
                None
            }
        }
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
        batch.put(
            tables::PDUS,
            event.key().as_bytes(),
            redaction::to_be_stored(&reader, event, Place::Anywhere)?.bytes(),
        );
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
