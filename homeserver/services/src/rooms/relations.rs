//! Events that relate to another: listing them, and bundling them into `unsigned` (client-server API, "Relationships").

use super::client_event::ClientView;
use super::reader::RoomReader;
use super::record::StoredEvent;
use crate::error::{Error, Result};
use crate::tables;
use bytes::Bytes;
use serde_json::{Map, Value};
use state_res::ids::{EventKey, UserKey};
use std::collections::HashSet;
use std::io::Write as _;
use storage::{Position, StorageError, key};

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

/// `rel_type` of the events of a thread.
pub const THREAD: &str = "m.thread";
/// Relations followed upwards to find an event's thread (client-server API, "Threaded read receipts": servers may bound this).
const MAX_RELATION_HOPS: usize = 3;

/// The root of the thread that an event is in, by itself or by what it relates to; `None` for the main timeline.
pub(crate) fn thread_of(reader: &RoomReader, event: &StoredEvent) -> Result<Option<String>> {
    let mut event = event.clone();
    for _ in 0..=MAX_RELATION_HOPS {
        // Most events relate to none, and are not parsed for it.
        if !event.content_json().contains("m.relates_to") {
            return Ok(None);
        }
        let content = event.content();
        let Some(relation) = content.get("m.relates_to") else { return Ok(None) };
        let (Some(kind), Some(parent)) = (relation["rel_type"].as_str(), relation["event_id"].as_str()) else {
            return Ok(None);
        };
        if kind == THREAD {
            return Ok(Some(parent.to_owned()));
        }
        match reader.stored(EventKey::of(parent))? {
            Some(parent) if parent.room() == reader.room() => event = parent,
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// Relations to `parent`, oldest first.
pub fn of<'a>(reader: &'a RoomReader, parent: EventKey) -> impl Iterator<Item = Result<Relation>> + 'a {
    reader.snapshot().scan_prefix(tables::RELATIONS, parent.as_bytes()).map(decode)
}

/// Relations to `parent`, newest first.
pub fn of_newest<'a>(reader: &'a RoomReader, parent: EventKey) -> impl Iterator<Item = Result<Relation>> + 'a {
    reader.snapshot().scan_prefix_rev(tables::RELATIONS, parent.as_bytes()).map(decode)
}

fn decode(row: Result<(Bytes, Bytes), StorageError>) -> Result<Relation> {
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
}

/// Checks the relation of an event that a client sends.
///
/// # Errors
/// 400 `M_DUPLICATE_ANNOTATION` for a reaction that the sender has made already; 400 `M_UNKNOWN` for a thread off an event that relates to
/// another itself ("Validation of m.thread relationships").
pub(super) fn check_new(
    reader: &RoomReader,
    sender: &str,
    event_type: &str,
    content: &Map<String, Value>,
) -> Result<()> {
    let Some(relates) = content.get("m.relates_to").and_then(Value::as_object) else { return Ok(()) };
    let text = |name: &str| relates.get(name).and_then(Value::as_str);
    let (Some(kind), Some(parent)) = (text("rel_type"), text("event_id")) else { return Ok(()) };
    let parent = EventKey::of(parent);
    match kind {
        "m.thread" => {
            let nested = reader.stored(parent)?.is_some_and(|event| {
                event.content().get("m.relates_to").is_some_and(|relates| relates.get("rel_type").is_some())
            });
            if nested {
                return Err(Error::unknown("A thread cannot start off an event that relates to another one itself."));
            }
        }
        "m.annotation" => {
            let Some(key) = text("key") else { return Ok(()) };
            for relation in of(reader, parent).take(MAX_BUNDLED) {
                let relation = relation?;
                if relation.rel_type != kind || relation.event_type != event_type {
                    continue;
                }
                let Some(event) = reader.stored(relation.child)?.filter(|event| !event.is_redacted()) else { continue };
                let same =
                    event.content().get("m.relates_to").and_then(|relates| relates.get("key")).and_then(Value::as_str)
                        == Some(key);
                if same && event.sender() == sender {
                    return Err(Error::new(
                        400,
                        "M_DUPLICATE_ANNOTATION",
                        format!("You have reacted with {key:?} to this event already."),
                    ));
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Whether `edit`, which relates to `original` by `m.replace`, replaces it ("Validity of replacement events"; both are of one room).
fn is_valid_edit(original: &StoredEvent, edit: &StoredEvent) -> bool {
    let is_edit = |content: &Map<String, Value>| {
        content
            .get("m.relates_to")
            .is_some_and(|relates| relates.get("rel_type").is_some_and(|kind| kind == "m.replace"))
    };
    edit.sender() == original.sender()
        && edit.event_type() == original.event_type()
        && !edit.is_state()
        && !original.is_state()
        && !is_edit(&original.content())
        // That of an encrypted event is in the payload, which only clients read.
        && (edit.event_type() == "m.room.encrypted" || edit.content().get("m.new_content").is_some_and(Value::is_object))
}

/// Appends `,"m.relations":{…}` where an event has relations that are bundled: its latest edit (if it is not redacted), what refers to it and,
/// with `threads`, its thread.
pub(super) fn write_bundle(out: &mut Vec<u8>, view: &ClientView<'_>, event: &StoredEvent, threads: bool) -> Result<()> {
    let mut edit: Option<StoredEvent> = None;
    let mut thread: Option<StoredEvent> = None;
    let mut thread_count = 0_u64;
    let mut participated = false;
    let mut references: Vec<String> = Vec::new();
    let mut ignored: Option<HashSet<String>> = None;
    for relation in of(view.reader, event.key()).take(MAX_BUNDLED) {
        let relation = relation?;
        if !matches!(relation.rel_type.as_str(), "m.replace" | "m.thread" | "m.reference")
            || (relation.rel_type == "m.thread" && !threads)
        {
            continue;
        }
        let Some(child) = view.reader.stored(relation.child)? else { continue };
        if child.is_redacted() || child.room() != event.room() {
            continue;
        }
        let Some(standing) = view.reader.standing(child.key())? else { continue };
        if !view.viewer.may_see_at(&child, &standing)? || view.viewer.is_erased(&child, &standing)? {
            continue;
        }
        if relation.rel_type == "m.replace" {
            // "Servers should not return bundled `m.replace` relationships" of a redacted event.
            if event.is_redacted() {
                continue;
            }
            let newer = edit.as_ref().is_none_or(|known| {
                (known.origin_server_ts(), known.event_id()) < (child.origin_server_ts(), child.event_id())
            });
            if newer && is_valid_edit(event, &child) {
                edit = Some(child);
            }
        } else if relation.rel_type == "m.reference" {
            references.push(child.event_id().to_owned());
        } else {
            let sender = child.sender();
            let ignored = match &mut ignored {
                Some(known) => known,
                none => none.insert(crate::sync::ignored_users(view.reader.snapshot(), view.user)?),
            };
            if ignored.contains(&sender) {
                continue;
            }
            thread_count += 1;
            participated |= UserKey::of(&sender) == view.user;
            thread = Some(child);
        }
    }
    if edit.is_none() && thread.is_none() && references.is_empty() {
        return Ok(());
    }
    out.extend_from_slice(b",\"m.relations\":{");
    if let Some(edit) = &edit {
        out.extend_from_slice(b"\"m.replace\":");
        edit.write_client_event(out, view.room_id, None);
    }
    if !references.is_empty() {
        if edit.is_some() {
            out.push(b',');
        }
        let chunk: Vec<Value> =
            references.into_iter().map(|event_id| serde_json::json!({ "event_id": event_id })).collect();
        let _ = write!(out, "\"m.reference\":{}", serde_json::json!({ "chunk": chunk }));
        if thread.is_some() {
            out.push(b',');
        }
    } else if edit.is_some() && thread.is_some() {
        out.push(b',');
    }
    if let Some(latest) = &thread {
        out.extend_from_slice(b"\"m.thread\":{\"latest_event\":");
        view.write_latest(out, latest)?;
        let participated = participated || UserKey::of(&event.sender()) == view.user;
        let _ = write!(out, ",\"count\":{thread_count},\"current_user_participated\":{participated}}}");
    }
    out.push(b'}');
    Ok(())
}
