//! What our users let others know of themselves, beside events: that they type, how far they have read.

use crate::accounts::{MAX_COMMIT_ATTEMPTS, account_data, commit};
use crate::ephemeral::Receipt;
use crate::error::{Error, Result};
use crate::names::{self, MAIN_THREAD};
use crate::rooms::history::HistoryKey;
use crate::rooms::relations::thread_of;
use crate::rooms::send::not_in_room;
use crate::rooms::timeline::visible_event;
use crate::rooms::visibility::Viewer;
use crate::rooms::{Membership, RoomReader};
use crate::{Config, Services, ephemeral};
use federation::{Edu, Queues, edu};
use serde_json::{Value, json};
use state_res::ids::{EventKey, RoomKey, UserKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use storage::Batch;

/// How long a notice of typing holds where the client does not say.
pub const DEFAULT_TYPING: Duration = Duration::from_secs(30);

/// How far a user has read, checked and ready to be recorded.
struct Marker {
    kind: &'static str,
    event_id: String,
    place: HistoryKey,
    thread: Option<String>,
}

impl Services {
    /// A user types (for at most [`ephemeral::MAX_TYPING`]) or has stopped; the other servers of the room are told.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` for who is not in the room.
    pub fn set_typing(&self, user_id: &str, room_id: &str, typing: bool, timeout: Option<Duration>) -> Result<()> {
        let reader = self.joined_reader(user_id, room_id)?;
        let timeout = timeout.unwrap_or(DEFAULT_TYPING).min(ephemeral::MAX_TYPING);
        let typing = typing && !timeout.is_zero();
        let ended = {
            let (rooms, others) = (self.rooms.clone(), self.others());
            let (room, edu) = (reader.room(), typing_edu(room_id, user_id, false));
            move || {
                if let Err(error) = others.tell(&rooms.reader(room), &edu) {
                    tracing::debug!(%error, "others were not told that a user types no more");
                }
            }
        };
        let changed = self.ephemeral.set_typing(room_id, user_id, typing.then_some(timeout), ended);
        // Repeated while it goes on: other servers may end it by themselves.
        if changed || typing {
            self.others().tell(&reader, &typing_edu(room_id, user_id, typing))?;
        }
        Ok(())
    }

    /// A user has sent an event: with a message, what they typed has been said.
    ///
    /// # Errors
    /// A failing store.
    pub fn has_sent(&self, user_id: &str, room_id: &str, event_type: &str) -> Result<()> {
        let room = RoomKey::of(room_id);
        if !matches!(event_type, "m.room.message" | "m.room.encrypted") || !self.ephemeral.end_typing(room, user_id) {
            return Ok(());
        }
        self.others().tell(&self.rooms.reader(room), &typing_edu(room_id, user_id, false))
    }

    /// A user has read up to an event: `m.read`, `m.read.private` or `m.fully_read`. `thread` is `thread_id` as the client sent it.
    /// Markers never move backwards: one that would is left where it is.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` for who is not in the room, 404 `M_NOT_FOUND` for an event that is not, 400 `M_INVALID_PARAM` for another type,
    /// or a thread that is none or not the event's.
    pub async fn mark_read(
        &self,
        user_id: &str,
        room_id: &str,
        kind: &str,
        event_id: &str,
        thread: Option<&Value>,
    ) -> Result<()> {
        let reader = self.joined_reader(user_id, room_id)?;
        let marker = check(&reader, user_id, kind, event_id, thread)?;
        self.record(user_id, room_id, &reader, marker).await
    }

    /// Several markers, each of a type and an event; if one is wrong, none is set.
    ///
    /// # Errors
    /// As [`Self::mark_read`].
    pub async fn mark_all_read(&self, user_id: &str, room_id: &str, markers: &[(&str, &str)]) -> Result<()> {
        let reader = self.joined_reader(user_id, room_id)?;
        let markers = markers
            .iter()
            .map(|(kind, event_id)| check(&reader, user_id, kind, event_id, None))
            .collect::<Result<Vec<_>>>()?;
        for marker in markers {
            self.record(user_id, room_id, &reader, marker).await?;
        }
        Ok(())
    }

    fn joined_reader(&self, user_id: &str, room_id: &str) -> Result<RoomReader> {
        let reader = self.rooms.reader(RoomKey::of(room_id));
        match reader.member(UserKey::of(user_id))? {
            Some(member) if member.membership == Membership::Join => Ok(reader),
            _ => Err(not_in_room(room_id)),
        }
    }

    async fn record(&self, user_id: &str, room_id: &str, reader: &RoomReader, marker: Marker) -> Result<()> {
        if marker.kind == "m.fully_read" {
            return self.record_fully_read(user_id, room_id, marker).await;
        }
        let thread = marker.thread.as_deref();
        let before = self.ephemeral.receipt(reader.snapshot(), reader.room(), user_id, marker.kind, thread)?;
        if before.is_some_and(|before| is_behind(reader, &marker.place, &before.event_id)) {
            return Ok(());
        }
        let ts = i64::try_from(self.world.now().millis()).unwrap_or(i64::MAX);
        let receipt = Receipt {
            user_id: user_id.to_owned(),
            kind: marker.kind.to_owned(),
            thread: marker.thread,
            event_id: marker.event_id,
            ts,
        };
        self.ephemeral.set_receipt(room_id, &receipt).await?;
        if receipt.kind == "m.read" {
            let data = edu::ReceiptData { ts, thread_id: receipt.thread };
            let content = edu::Receipt { event_ids: vec![receipt.event_id], data };
            let users = BTreeMap::from([(receipt.user_id, content)]);
            let kinds = BTreeMap::from([(receipt.kind, users)]);
            self.others().tell(reader, &Edu::Receipt(edu::Receipts(BTreeMap::from([(room_id.to_owned(), kinds)]))))?;
        }
        Ok(())
    }

    async fn record_fully_read(&self, user_id: &str, room_id: &str, marker: Marker) -> Result<()> {
        let (user, room) = (UserKey::of(user_id), RoomKey::of(room_id));
        let content = json!({ "event_id": marker.event_id }).to_string();
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let reader = self.rooms.reader(room);
            if let Some(before) = account_data::get(reader.snapshot(), user, Some(room), marker.kind)? {
                let before: Value = serde_json::from_slice(&before).unwrap_or_default();
                if is_behind(&reader, &marker.place, before["event_id"].as_str().unwrap_or_default()) {
                    return Ok(());
                }
            }
            let mut batch = Batch::with_random_id(&self.world);
            account_data::put(&mut batch, reader.snapshot(), user, Some(room_id), marker.kind, content.as_bytes())?;
            if commit(&self.store, batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::contended())
    }

    fn others(&self) -> Others {
        Others { queues: self.queues.clone(), config: self.config.clone() }
    }
}

/// The other servers in a room.
struct Others {
    queues: Queues,
    config: Arc<Config>,
}

impl Others {
    /// Tells those that can be reached soon.
    fn tell(&self, reader: &RoomReader, edu: &Edu) -> Result<()> {
        for server in reader.servers()? {
            if server != self.config.server_name {
                self.queues.send_volatile(&server, edu.clone());
            }
        }
        Ok(())
    }
}

fn typing_edu(room_id: &str, user_id: &str, typing: bool) -> Edu {
    Edu::Typing(edu::Typing { room_id: room_id.to_owned(), user_id: user_id.to_owned(), typing })
}

fn check(reader: &RoomReader, user_id: &str, kind: &str, event_id: &str, thread: Option<&Value>) -> Result<Marker> {
    let kind = match kind {
        "m.read" => "m.read",
        "m.read.private" => "m.read.private",
        "m.fully_read" => "m.fully_read",
        _ => {
            return Err(Error::invalid_param(format!(
                "{kind:?} is no receipt type; m.read, m.read.private and m.fully_read are."
            )));
        }
    };
    if !names::is_event_id(event_id) {
        return Err(Error::invalid_param(format!("{event_id:?} is no event id.")));
    }
    let thread = match thread {
        None | Some(Value::Null) => None,
        Some(Value::String(thread)) if names::is_thread_id(thread) => Some(thread.clone()),
        Some(_) => {
            return Err(Error::invalid_param("`thread_id` must be an event id (at most 255 bytes) or \"main\"."));
        }
    };
    if kind == "m.fully_read" && thread.is_some() {
        return Err(Error::invalid_param("m.fully_read is for whole rooms and takes no `thread_id`."));
    }
    let viewer = Viewer::new(reader, user_id)?;
    let (event, place) = visible_event(reader, &viewer, event_id)?;
    if let Some(thread) = &thread {
        let of = thread_of(reader, &event)?;
        // A thread's root is in the thread, and in the main timeline.
        if thread != event_id && of.as_deref().unwrap_or(MAIN_THREAD) != thread {
            return Err(Error::invalid_param(format!("The event {event_id} is not in the thread {thread:?}.")));
        }
    }
    Ok(Marker { kind, event_id: event_id.to_owned(), place, thread })
}

/// Whether `place` lies before the event of an earlier marker; not known if that event is not here.
fn is_behind(reader: &RoomReader, place: &HistoryKey, before: &str) -> bool {
    let standing = reader.standing(EventKey::of(before)).ok().flatten();
    standing.and_then(|standing| standing.history).is_some_and(|before| *place < before)
}
