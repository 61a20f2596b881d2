//! Events that relate to another: listing them, and bundling them into `unsigned` (client-server API, "Relationships").

use super::client_event::ClientView;
use super::reader::RoomReader;
use super::record::StoredEvent;
use crate::error::Result;
use crate::tables;
use state_res::ids::EventKey;
use std::io::Write as _;
use storage::{Position, key};

/// Most relations looked at to bundle one event.
const MAX_BUNDLED: usize = 1_000;

/// A row of table `RELATIONS`.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Where the child was announced.
    pub position: Position,
    /// Ordinal within it.
    pub ordinal: u16,
    /// The event that relates.
    pub child: EventKey,
    /// `rel_type`.
    pub rel_type: String,
    /// Its `type`.
    pub event_type: String,
}

/// Relations to `parent`, oldest first.
pub fn of<'a>(reader: &'a RoomReader, parent: EventKey) -> impl Iterator<Item = Result<Relation>> + 'a {
    reader.snapshot().scan_prefix(tables::RELATIONS, parent.as_bytes()).map(|row| {
        let (row_key, value) = row?;
        let mut place = key::Reader::new(row_key.get(16..).unwrap_or_default());
        let mut value = key::Reader::new(&value);
        Ok(Relation {
            position: place.u64()?,
            ordinal: place.u16()?,
            child: EventKey::from_bytes(value.id16()?),
            rel_type: value.str()?,
            event_type: value.str()?,
        })
    })
}

/// Appends `,"m.relations":{…}` where an event has relations that are bundled: its latest edit, its thread.
pub(super) fn write_bundle(out: &mut Vec<u8>, view: &ClientView<'_>, event: &StoredEvent) -> Result<()> {
    let mut edit: Option<StoredEvent> = None;
    let mut thread: Option<StoredEvent> = None;
    let mut thread_count = 0_u64;
    let mut participated = false;
    for relation in of(view.reader, event.key()).take(MAX_BUNDLED) {
        let relation = relation?;
        if relation.rel_type != "m.replace" && relation.rel_type != "m.thread" {
            continue;
        }
        let Some(child) = view.reader.stored(relation.child)? else { continue };
        if child.is_redacted() || child.room() != event.room() || !view.viewer.may_see(&child)? {
            continue;
        }
        if relation.rel_type == "m.replace" {
            // Valid replacements: same sender, same type, neither of them state ("Validity of replacement events").
            let valid = child.sender() == event.sender()
                && child.event_type() == event.event_type()
                && !child.is_state()
                && !event.is_state();
            let newer = edit.as_ref().is_none_or(|known| {
                (known.origin_server_ts(), known.event_id()) < (child.origin_server_ts(), child.event_id())
            });
            if valid && newer {
                edit = Some(child);
            }
        } else {
            thread_count += 1;
            participated |= state_res::ids::UserKey::of(&child.sender()) == view.user;
            thread = Some(child);
        }
    }
    if edit.is_none() && thread.is_none() {
        return Ok(());
    }
    out.extend_from_slice(b",\"m.relations\":{");
    if let Some(edit) = &edit {
        out.extend_from_slice(b"\"m.replace\":");
        edit.write_client_event(out, view.room_id, None);
    }
    if let Some(latest) = &thread {
        if edit.is_some() {
            out.push(b',');
        }
        out.extend_from_slice(b"\"m.thread\":{\"latest_event\":");
        latest.write_client_event(out, view.room_id, None);
        let participated = participated || state_res::ids::UserKey::of(&event.sender()) == view.user;
        let _ = write!(out, ",\"count\":{thread_count},\"current_user_participated\":{participated}}}");
    }
    out.push(b'}');
    Ok(())
}
