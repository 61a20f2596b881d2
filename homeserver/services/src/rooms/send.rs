//! Sending events: messages with transaction ids, state, redactions.

use super::writer::NewEvent;
use super::{RoomWriter, Rooms};
use crate::error::{Error, Result};
use crate::names;
use crate::tables;
use serde_json::{Map, Value, json};
use state_res::auth::Level;
use state_res::ids::{EventKey, RoomKey, UserKey};
use storage::key;

/// Who sends a request and under which transaction id: answers to a repeated request are the same, also after a crash.
#[derive(Debug, Clone, Copy)]
pub struct Transaction<'a> {
    /// The device; transaction ids are scoped to it.
    pub device_id: &'a str,
    /// The endpoint, as ids of different ones do not meet.
    pub endpoint: &'a str,
    /// The id that the client chose.
    pub id: &'a str,
}

fn transaction_key(user_id: &str, transaction: &Transaction<'_>) -> Vec<u8> {
    key::Writer::new()
        .id16(UserKey::of(user_id).as_bytes())
        .str(transaction.device_id)
        .str(transaction.endpoint)
        .str(transaction.id)
        .finish()
}

impl Rooms {
    /// `PUT /rooms/{roomId}/send/{eventType}/{txnId}`: sends a message event. Gives its event id; the same one whenever the same device
    /// repeats the transaction id.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` where the sender may not send it (or is not in the room), 413 `M_TOO_LARGE` also for an event type
    /// of more than [`names::MAX_NAME_BYTES`], 400 `M_BAD_JSON`, 400 `M_INVALID_PARAM` for a transaction id of more than that, 429.
    pub async fn send_message(
        &self,
        sender: &str,
        room_id: &str,
        event_type: &str,
        content: Map<String, Value>,
        transaction: &Transaction<'_>,
    ) -> Result<String> {
        // As for a state event, but before the type becomes part of a key.
        if event_type.len() > names::MAX_NAME_BYTES {
            return Err(Error::too_large(format!("The event type may have {} bytes at most.", names::MAX_NAME_BYTES)));
        }
        if event_type == "m.room.redaction" {
            let target = content.get("redacts").and_then(Value::as_str).unwrap_or_default().to_owned();
            return self.redact(sender, room_id, &target, content, transaction).await;
        }
        let event = NewEvent::message(sender, event_type, content);
        self.send_once(sender, room_id, transaction, |writer| {
            require_joined(writer, sender)?;
            super::relations::check_new(&writer.reader, sender, &event.event_type, &event.content)?;
            Ok(writer.send(event.clone())?.event_id().to_owned())
        })
        .await
    }

    /// `PUT /rooms/{roomId}/redact/{eventId}/{txnId}`: `content` may carry `reason`.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND` for an event that is not in the room, 403 `M_FORBIDDEN` without the power to redact it.
    pub async fn redact(
        &self,
        sender: &str,
        room_id: &str,
        target: &str,
        mut content: Map<String, Value>,
        transaction: &Transaction<'_>,
    ) -> Result<String> {
        let (_, head) = self.known_to(sender, room_id)?;
        let in_content = head.room_version.rules().redacts_in_content;
        if content.get("reason").is_some_and(Value::is_null) {
            content.remove("reason");
        }
        if in_content {
            content.insert("redacts".into(), json!(target));
        } else {
            content.remove("redacts");
        }
        let mut event = NewEvent::message(sender, "m.room.redaction", content);
        event.redacts = (!in_content).then(|| target.to_owned());
        self.send_once(sender, room_id, transaction, |writer| {
            require_joined(writer, sender)?;
            let target_pdu = match writer.reader.pdu(EventKey::of(target))? {
                Some(pdu) if pdu.room_id() == room_id => pdu,
                _ => return Err(Error::not_found(format!("There is no event {target} in {room_id}."))),
            };
            if target_pdu.event_type() == "m.room.create" {
                return Err(Error::forbidden("A room's create event cannot be redacted."));
            }
            if target_pdu.sender() != sender {
                let power = super::power::Power::at(&writer.reader, writer.head.root)?;
                if !power.may(sender, Level::Redact) {
                    return Err(Error::forbidden("You may only redact your own events in this room."));
                }
            }
            Ok(writer.send(event.clone())?.event_id().to_owned())
        })
        .await
    }

    /// `PUT /rooms/{roomId}/state/{eventType}/{stateKey}`: sets state. Setting what is set already gives the event that set it.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`, 413 `M_TOO_LARGE`, 400 `M_BAD_JSON`, 400 `M_BAD_ALIAS` for aliases that do not lead here.
    pub async fn set_state(
        &self,
        sender: &str,
        room_id: &str,
        event_type: &str,
        state_key: &str,
        content: Map<String, Value>,
    ) -> Result<String> {
        if event_type == "m.room.canonical_alias" {
            self.check_canonical_alias(room_id, &content)?;
        }
        if event_type == "m.room.create" {
            return Err(Error::forbidden("A room's create event cannot be replaced."));
        }
        // A user's own membership: whether they may change it, the rules say.
        let own_membership = event_type == "m.room.member" && state_key == sender;
        if own_membership && !self.is_known(room_id)? {
            return Err(not_in_room(room_id));
        }
        self.count_sending(sender)?;
        self.write(room_id, |writer| {
            if !own_membership {
                require_joined(writer, sender)?;
            }
            if let Some(existing) = writer.current(event_type, state_key)?
                && existing.content() == &content
                && existing.sender() == sender
            {
                return Ok(existing.event_id().to_owned());
            }
            Ok(writer.send(NewEvent::state(sender, event_type, state_key, content.clone()))?.event_id().to_owned())
        })
        .await
        .map(|(event_id, _)| event_id)
    }

    /// Writes once per transaction id: `work` sends and gives the event id.
    async fn send_once(
        &self,
        sender: &str,
        room_id: &str,
        transaction: &Transaction<'_>,
        mut work: impl FnMut(&mut RoomWriter<'_>) -> Result<String>,
    ) -> Result<String> {
        names::check_name("transaction id", transaction.id)?;
        let row = transaction_key(sender, transaction);
        if let Some(event_id) = self.sent_before(&row)? {
            return Ok(event_id);
        }
        if !self.is_known(room_id)? {
            return Err(not_in_room(room_id));
        }
        self.count_sending(sender)?;
        let mut again = false;
        self.write(room_id, |writer| {
            // The first time the batch's precondition says whether the same request was done meanwhile; if so, we are here again.
            if std::mem::replace(&mut again, true)
                && let Some(known) = writer.reader.snapshot().get(tables::TRANSACTIONS, &row)?
            {
                return Ok(String::from_utf8_lossy(&known).into_owned());
            }
            let event_id = work(writer)?;
            writer.sent_by(EventKey::of(&event_id), UserKey::of(sender), transaction.device_id, transaction.id);
            let batch = writer.batch();
            batch.require_absent(tables::TRANSACTIONS, &row);
            batch.put(tables::TRANSACTIONS, &row, event_id.as_bytes());
            Ok(event_id)
        })
        .await
        .map(|(event_id, _)| event_id)
    }

    /// Counts an event that a user is about to send.
    ///
    /// # Errors
    /// 429 `M_LIMIT_EXCEEDED`.
    pub(super) fn count_sending(&self, sender: &str) -> Result<()> {
        let limits = &self.deps().limits;
        limits.take(&limits.configured.sending, sender)
    }

    fn sent_before(&self, row: &[u8]) -> Result<Option<String>> {
        let known = self.deps().store.snapshot().get(tables::TRANSACTIONS, row)?;
        Ok(known.map(|id| String::from_utf8_lossy(&id).into_owned()))
    }

    /// Whether we know the room.
    pub fn is_known(&self, room_id: &str) -> Result<bool> {
        Ok(self.reader(RoomKey::of(room_id)).head()?.is_some())
    }

    /// A reader of a room that the user is or was in; to others an unknown room looks the same as a closed one.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`.
    pub fn known_to(&self, user_id: &str, room_id: &str) -> Result<(super::RoomReader, super::head::Head)> {
        let reader = self.reader(RoomKey::of(room_id));
        match reader.head()? {
            Some(head) if reader.member(UserKey::of(user_id))?.is_some() => Ok((reader, head)),
            _ => Err(not_in_room(room_id)),
        }
    }

    /// Aliases named by `m.room.canonical_alias` must lead to the room, where they are ours to say.
    fn check_canonical_alias(&self, room_id: &str, content: &Map<String, Value>) -> Result<()> {
        let bad = |text: String| Error::new(400, "M_BAD_ALIAS", text);
        let alternatives: &[Value] = match content.get("alt_aliases") {
            None | Some(Value::Null) => &[],
            Some(Value::Array(aliases)) => aliases,
            Some(_) => return Err(Error::invalid_param("`alt_aliases` must be an array of room aliases.")),
        };
        // An empty one unsets it.
        let alias = content.get("alias").filter(|alias| !alias.is_null() && alias.as_str() != Some(""));
        for value in alias.into_iter().chain(alternatives) {
            let alias = value.as_str().unwrap_or_default();
            if !names::is_room_alias(alias) {
                return Err(Error::invalid_param(format!(
                    "{value} is no room alias; it should look like \"#name:server\"."
                )));
            }
            if names::server_of(alias) == Some(self.deps().server_name.as_str())
                && self.alias(alias)?.is_none_or(|found| found.room_id != room_id)
            {
                return Err(bad(format!("The alias {alias} does not lead to this room.")));
            }
        }
        Ok(())
    }
}

/// 403 for a room that the sender is not in, known or not.
pub(crate) fn not_in_room(room_id: &str) -> Error {
    Error::forbidden(format!("You are not in the room {room_id}, or it does not exist."))
}

/// The sender of an event of ours must be joined.
pub(super) fn require_joined(writer: &RoomWriter<'_>, user_id: &str) -> Result<()> {
    match writer.reader.membership_in(writer.head.root, user_id)? {
        Some(super::Membership::Join) => Ok(()),
        _ => Err(not_in_room(writer.room_id())),
    }
}
