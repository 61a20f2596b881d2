//! Events as one client sees them: the stored slices with `unsigned` computed for the viewer.

use super::facts::Facts;
use super::reader::{Membership, RoomReader};
use super::record::{StoredEvent, read_object, write_integer, write_json_string};
use super::standing::Standing;
use super::visibility::Viewer;
use crate::accounts::filters::EventFormat;
use crate::error::{Error, Result};
use serde_json::Value;
use state_res::ids::{EventKey, UserKey};
use std::borrow::Cow;

/// How a client wants events to be written (`event_format` and `event_fields` of its filter).
#[derive(Debug, Clone, Copy, Default)]
pub struct EventForm<'a> {
    /// As clients usually get them, or as servers exchange them.
    pub format: EventFormat,
    /// Dot-separated paths of the members that are wanted; none means all.
    pub fields: &'a [String],
}

/// A user's device looking at a room's events.
pub struct ClientView<'a> {
    /// The room.
    pub reader: &'a RoomReader,
    /// Who may see what.
    pub viewer: &'a Viewer<'a>,
    /// The user.
    pub user: UserKey,
    /// Their device, for `unsigned.transaction_id`.
    pub device_id: &'a str,
    /// Now, for `unsigned.age`.
    pub now: i64,
    /// Ids of the room, where the answer is to carry it.
    pub room_id: Option<&'a str>,
    /// The form of the events.
    pub form: EventForm<'a>,
}

impl ClientView<'_> {
    /// Writes an event.
    pub fn write(&self, out: &mut Vec<u8>, facts: &Facts) -> Result<()> {
        self.write_as(out, &facts.event, facts)
    }

    /// Writes an event in the form that `event` has, which may be another than the stored one.
    fn write_as(&self, out: &mut Vec<u8>, event: &StoredEvent, facts: &Facts) -> Result<()> {
        let start = out.len();
        match self.form.format {
            EventFormat::Client => self.write_client(out, event, facts, true)?,
            EventFormat::Federation => {
                out.extend_from_slice(self.shown(event, || Ok(Some(facts.standing.clone())))?.canonical());
            }
        }
        if !self.form.fields.is_empty() {
            let whole = Value::Object(read_object(std::str::from_utf8(&out[start..]).map_err(Error::internal)?)?);
            out.truncate(start);
            serde_json::to_writer(out, &super::fields::project(&whole, self.form.fields)).map_err(Error::internal)?;
        }
        Ok(())
    }

    /// The latest event of a thread, within the thread's root: with what is bundled into it, but no thread of its own, so that whoever
    /// makes threads of threads makes no loop.
    pub(super) fn write_latest(&self, out: &mut Vec<u8>, event: &StoredEvent) -> Result<()> {
        match self.reader.facts_of_any(event.key())? {
            Some(facts) => self.write_client(out, event, &facts, false),
            None => {
                event.write_client_event(out, self.room_id, None);
                Ok(())
            }
        }
    }

    /// An event as this user is shown it: as it is, or redacted if its sender had it erased. `standing` says what we think of the event.
    pub fn shown<'e>(
        &self,
        event: &'e StoredEvent,
        standing: impl FnOnce() -> Result<Option<Standing>>,
    ) -> Result<Cow<'e, StoredEvent>> {
        if self.reader.erased_since(|| event.sender()).is_none() || event.is_redacted() {
            return Ok(Cow::Borrowed(event));
        }
        match standing()? {
            Some(standing) if self.viewer.is_erased(event, &standing)? => {
                let pdu = self.reader.required(event.key())?;
                Ok(Cow::Owned(StoredEvent::encode(self.reader.room(), &pdu.redacted()).marked_redacted()))
            }
            _ => Ok(Cow::Borrowed(event)),
        }
    }

    fn write_client(&self, out: &mut Vec<u8>, event: &StoredEvent, facts: &Facts, threads: bool) -> Result<()> {
        let standing = &facts.standing;
        let event = &*self.shown(event, || Ok(Some(standing.clone())))?;
        // Of most events it is known without a look at their bytes.
        let is_redacted = if std::ptr::eq(event, &facts.event) { facts.is_redacted } else { event.is_redacted() };
        if is_redacted == facts.is_redacted {
            out.extend_from_slice(facts.common());
        } else {
            event.write_common(out);
        }
        if let Some(room_id) = self.room_id {
            out.extend_from_slice(b",\"room_id\":");
            write_json_string(out, room_id);
        }
        out.extend_from_slice(b",\"unsigned\":{\"age\":");
        write_integer(out, self.now.saturating_sub(facts.ts).max(0));
        let membership = self.viewer.membership_at(if facts.is_state { standing.after } else { standing.before })?;
        out.extend_from_slice(b",\"membership\":\"");
        out.extend_from_slice(membership.as_str().as_bytes());
        out.push(b'"');
        if let Some(previous) = facts.replaced(self.reader)? {
            self.write_previous(out, previous, standing)?;
        }
        if let Some(transaction) = facts.transaction(self.user, self.device_id)? {
            out.extend_from_slice(b",\"transaction_id\":");
            write_json_string(out, &transaction);
        }
        if is_redacted {
            self.write_redacted_because(out, event)?;
        }
        if facts.related {
            super::relations::write_bundle(out, self, event, threads)?;
        }
        out.extend_from_slice(b"}}");
        Ok(())
    }

    /// Writes an event that may not have been stored with what belongs to it.
    pub fn write_event(&self, out: &mut Vec<u8>, event: &StoredEvent) -> Result<()> {
        match self.reader.facts_of_any(event.key())? {
            Some(facts) => self.write_as(out, event, &facts),
            None => {
                event.write_client_event(out, self.room_id, None);
                Ok(())
            }
        }
    }

    /// An event as JSON text.
    pub fn json(&self, event: &StoredEvent) -> Result<String> {
        let mut out = Vec::with_capacity(event.canonical().len() + 128);
        self.write_event(&mut out, event)?;
        Ok(String::from_utf8(out).unwrap_or_default())
    }

    /// Events as the text of a JSON array.
    pub fn json_array<'e>(&self, events: impl IntoIterator<Item = &'e StoredEvent>) -> Result<String> {
        let mut out = vec![b'['];
        for (index, event) in events.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.write_event(&mut out, event)?;
        }
        out.push(b']');
        Ok(String::from_utf8(out).unwrap_or_default())
    }

    /// What a state event replaced: its id, and its content for those who saw the state before the event, or may see that one itself.
    fn write_previous(&self, out: &mut Vec<u8>, previous: EventKey, standing: &Standing) -> Result<()> {
        // A purge lets go what was before an event a little earlier than what is known about that one.
        let Some(previous) = self.reader.stored(previous)? else { return Ok(()) };
        if self.viewer.membership_at(standing.before)? == Membership::Join || self.viewer.may_see(&previous)? {
            let previous = self.shown(&previous, || self.reader.standing(previous.key()))?;
            out.extend_from_slice(b",\"prev_content\":");
            out.extend_from_slice(previous.content_json().as_bytes());
            out.extend_from_slice(b",\"prev_sender\":");
            write_json_string(out, &previous.sender());
        }
        out.extend_from_slice(b",\"replaces_state\":");
        write_json_string(out, previous.event_id());
        Ok(())
    }

    fn write_redacted_because(&self, out: &mut Vec<u8>, event: &StoredEvent) -> Result<()> {
        let Some(target) = self.reader.pdu(event.key())? else { return Ok(()) };
        // One that came after the viewer's time is not theirs to see, though what it took away is gone for them too.
        if let Some(redaction) = super::redaction::because(self.reader, &target)?
            && self.viewer.may_see(&redaction)?
        {
            out.extend_from_slice(b",\"redacted_because\":");
            redaction.write_client_event(out, self.room_id, None);
        }
        Ok(())
    }
}
