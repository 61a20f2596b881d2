//! `GET /rooms/{roomId}/threads`: the roots of a room's threads, those with the newest event first.

use super::Peers;
use crate::error::{Error, Result};
use crate::rooms::RoomReader;
use crate::rooms::history::HistoryKey;
use crate::rooms::reader::room_key;
use crate::rooms::record::StoredEvent;
use crate::rooms::relations;
use crate::rooms::timeline::Boundary;
use crate::rooms::visibility::Viewer;
use crate::sync::ignored_users;
use crate::tables;
use state_res::ids::{EventKey, UserKey};
use std::collections::HashSet;

/// Threads of a page where the client does not say.
pub const DEFAULT_THREADS: usize = 20;
/// Most threads of a page.
pub const MAX_THREADS: usize = 100;
/// Most rows looked at for one page; the next page goes on behind them.
const MAX_ROWS: usize = 10_000;
/// Most events of a thread that are looked at to place it.
const MAX_THREAD_EVENTS: usize = 1_000;

/// `GET /rooms/{roomId}/threads`.
pub struct ThreadsRequest<'a> {
    /// Who asks.
    pub user_id: &'a str,
    /// From which device.
    pub device_id: &'a str,
    /// The room.
    pub room_id: &'a str,
    /// Only threads in which the user has taken part.
    pub participated: bool,
    /// Most roots.
    pub limit: usize,
    /// Where to go on.
    pub from: Option<&'a str>,
}

/// Who looks, and what they do not want to see.
struct Reading<'a> {
    reader: &'a RoomReader,
    viewer: Viewer<'a>,
    user_id: &'a str,
    ignored: HashSet<String>,
}

impl Peers {
    /// A page of thread roots: JSON text.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`, 400 `M_INVALID_PARAM` for a bad token.
    pub fn threads(&self, request: &ThreadsRequest<'_>) -> Result<String> {
        let from = match request.from.filter(|from| !from.is_empty()) {
            None => None,
            Some(from) => {
                Some(Boundary::parse(from).ok_or_else(|| Error::invalid_param("`from` is no token of this server."))?)
            }
        };
        let reader = self.look_back(request.user_id, request.room_id)?;
        let reading = Reading {
            reader: &reader,
            viewer: Viewer::new(&reader, request.user_id)?,
            user_id: request.user_id,
            ignored: ignored_users(reader.snapshot(), UserKey::of(request.user_id))?,
        };
        let limit = request.limit.clamp(1, MAX_THREADS);
        let mut roots: Vec<StoredEvent> = Vec::new();
        let mut next = None;
        let mut seen: HashSet<EventKey> = HashSet::new();
        let start = room_key(reader.room(), &[]);
        let end = match &from {
            Some(from) => room_key(reader.room(), &from.0),
            None => storage::key::prefix_end(&start),
        };
        for (count, row) in reader.snapshot().scan_rev(tables::THREADS, start..end).enumerate() {
            let (key, value) = row?;
            let place = HistoryKey::from_bytes(key.get(16..).unwrap_or_default());
            if roots.len() >= limit || count >= MAX_ROWS {
                next = Some(Boundary::after(&place));
                break;
            }
            let (root, child) = decode(&value)?;
            if seen.contains(&root) || !reading.shows(child)? {
                continue;
            }
            seen.insert(root);
            let Some(event) = reader.stored(root)?.filter(|event| event.room() == reader.room()) else { continue };
            if reading.viewer.may_see(&event)?
                && !reading.was_shown_before(root, &place)?
                && (!request.participated || reading.has_taken_part(&event)?)
            {
                roots.push(reading.as_shown(event)?);
            }
        }
        let view = self.view(&reader, &reading.viewer, request.user_id, request.device_id, request.room_id);
        let chunk = view.json_array(&roots)?;
        Ok(match next {
            Some(next) => format!("{{\"chunk\":{chunk},\"next_batch\":\"{}\"}}", next.token()),
            None => format!("{{\"chunk\":{chunk}}}"),
        })
    }
}

impl Reading<'_> {
    /// Whether an event of a thread counts for this user.
    fn shows(&self, child: EventKey) -> Result<bool> {
        match self.reader.stored(child)? {
            Some(event) if event.room() == self.reader.room() && !event.is_redacted() => {
                Ok(!self.ignored.contains(&event.sender()) && self.viewer.may_see(&event)?)
            }
            _ => Ok(false),
        }
    }

    /// Whether a thread has an event behind `place`, by which an earlier page has shown it.
    fn was_shown_before(&self, root: EventKey, place: &HistoryKey) -> Result<bool> {
        for relation in relations::of_newest(self.reader, root).take(MAX_THREAD_EVENTS) {
            let relation = relation?;
            if relation.rel_type != relations::THREAD {
                continue;
            }
            let standing = self.reader.standing(relation.child)?;
            let later = standing.and_then(|standing| standing.history).is_some_and(|history| history > *place);
            if later && self.shows(relation.child)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// "Server-side aggregation of `m.thread` relationships": the user began the thread, or sent an event of it.
    fn has_taken_part(&self, root: &StoredEvent) -> Result<bool> {
        if root.sender() == self.user_id {
            return Ok(true);
        }
        for relation in relations::of_newest(self.reader, root.key()).take(MAX_THREAD_EVENTS) {
            let relation = relation?;
            if relation.rel_type == relations::THREAD
                && self.reader.stored(relation.child)?.is_some_and(|event| {
                    event.sender() == self.user_id && event.room() == self.reader.room() && !event.is_redacted()
                })
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The root of an ignored user is shown redacted.
    fn as_shown(&self, root: StoredEvent) -> Result<StoredEvent> {
        if !self.ignored.contains(&root.sender()) {
            return Ok(root);
        }
        let pdu = self.reader.required(root.key())?;
        Ok(StoredEvent::encode(self.reader.room(), &pdu.redacted()).marked_redacted())
    }
}

/// Root and event of a row of table `THREADS`.
fn decode(value: &[u8]) -> Result<(EventKey, EventKey)> {
    let mut value = storage::key::Reader::new(value);
    Ok((EventKey::from_bytes(value.id16()?), EventKey::from_bytes(value.id16()?)))
}
