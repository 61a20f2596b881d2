//! `GET /notifications`: the events of which a user's push rules notify them, newest first, in all their rooms.
//!
//! Nothing of it is stored: the rooms' timelines are read backwards together, and each event is judged by the rules as they are
//! now.

use super::counts::{Place, Places};
use crate::error::{Error, Result};
use crate::rooms::client_event::{ClientView, EventForm};
use crate::rooms::memberships::UserRoom;
use crate::rooms::reader::room_key;
use crate::rooms::record::{StoredEvent, write_json_string};
use crate::rooms::relations::thread_of;
use crate::rooms::visibility::Viewer;
use crate::rooms::{Membership, RoomReader};
use crate::{Services, limits, tables};
use bytes::Bytes;
use ruma_common::push::PushConditionRoomCtx;
use state_res::ids::{EventKey, UserKey};
use std::collections::BinaryHeap;
use std::io::Write as _;

/// Notifications of a page where the client does not say.
pub const DEFAULT_NOTIFICATIONS: usize = 20;
/// Most notifications of a page.
pub const MAX_NOTIFICATIONS: usize = 100;
/// Most events judged for one page; the next page goes on behind them.
const MAX_EVENTS: usize = 2_000;

/// Rows of a timeline, newest first.
type Rows<'a> = Box<dyn Iterator<Item = Result<(Place, EventKey)>> + Send + 'a>;

/// A room whose timeline is being read.
struct Room<'a> {
    rows: Rows<'a>,
    row: &'a UserRoom,
    reader: &'a RoomReader,
    viewer: Viewer<'a>,
    read: Places,
    context: Option<PushConditionRoomCtx>,
}

impl Services {
    /// A page of notifications: JSON text.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` for a bad token.
    pub fn notifications(
        &self,
        user_id: &str,
        device_id: &str,
        from: Option<&str>,
        limit: usize,
        only_highlights: bool,
    ) -> Result<Vec<u8>> {
        let from = from.filter(|from| !from.is_empty()).map(parse).transpose()?;
        let limit = limit.clamp(1, MAX_NOTIFICATIONS);
        self.accounts.limits.take(&limits::NOTIFICATIONS_BY_USER, user_id)?;
        let user = UserKey::of(user_id);
        let deps = self.rooms.deps();
        let changes = deps.caches.changes();
        let epoch = deps.user_rooms.epoch();
        let snapshot = deps.store.snapshot();
        let ignored = crate::sync::ignored_users(&snapshot, user)?;
        let rules = self.push.ruleset(&snapshot, user_id)?;
        let rows = deps.user_rooms.of(&snapshot, epoch, user)?;
        let readers: Vec<(&UserRoom, RoomReader)> = rows
            .iter()
            .filter(|row| row.membership == Membership::Join)
            .map(|row| (row, self.rooms.reader_at(snapshot.clone(), changes, row.room)))
            .collect();
        let mut rooms = Vec::with_capacity(readers.len());
        let mut heads: BinaryHeap<(Place, EventKey, usize)> = BinaryHeap::new();
        for (row, reader) in &readers {
            let mut rows = timeline(reader, row, from)?;
            if let Some(first) = rows.next().transpose()? {
                heads.push((first.0, first.1, rooms.len()));
            }
            rooms.push(Room {
                rows,
                row,
                reader,
                viewer: Viewer::new(reader, user_id)?,
                read: self.push.read_places(reader, user_id)?,
                context: self.push.context(reader, user_id)?,
            });
        }
        let mut json = b"{\"notifications\":[".to_vec();
        let (mut found, mut judged) = (0, 0);
        let mut next = None;
        while let Some((place, key, index)) = heads.pop() {
            if found >= limit || judged >= MAX_EVENTS {
                next = Some(place);
                break;
            }
            judged += 1;
            let room = &mut rooms[index];
            if let Some(following) = room.rows.next().transpose()? {
                heads.push((following.0, following.1, index));
            }
            let event = room.reader.required_stored(key)?;
            let sender = event.sender();
            if sender == user_id || event.is_redacted() || ignored.contains(&sender) || !room.viewer.may_see(&event)? {
                continue;
            }
            let Some(context) = &room.context else { continue };
            let Some(rule) = self.push.rule_for(&rules.rules, context, &event)? else { continue };
            let verdict = super::judge::Verdict::of(rule.actions());
            if !verdict.notify || (only_highlights && !verdict.highlight) {
                continue;
            }
            if found > 0 {
                json.push(b',');
            }
            found += 1;
            let actions = serde_json::to_string(rule.actions()).map_err(Error::internal)?;
            let read = room.read.covers(place, thread_of(room.reader, &event)?);
            let _ = write!(json, "{{\"actions\":{actions},\"read\":{read},\"ts\":{}", event.origin_server_ts());
            json.extend_from_slice(b",\"room_id\":");
            write_json_string(&mut json, &room.row.room_id);
            json.extend_from_slice(b",\"event\":");
            self.write(&mut json, room, user, device_id, &event)?;
            json.push(b'}');
        }
        json.push(b']');
        if let Some((position, ordinal)) = next {
            let _ = write!(json, ",\"next_token\":\"n{position}_{ordinal}\"");
        }
        json.push(b'}');
        Ok(json)
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        room: &Room<'_>,
        user: UserKey,
        device_id: &str,
        event: &StoredEvent,
    ) -> Result<()> {
        let view = ClientView {
            reader: room.reader,
            viewer: &room.viewer,
            user,
            device_id,
            now: self.world.now().millis() as i64,
            room_id: None,
            form: EventForm::default(),
        };
        view.write_event(out, event)
    }
}

/// What was announced in a room while the user was in it, up to and including `from`.
fn timeline<'a>(reader: &'a RoomReader, row: &'a UserRoom, from: Option<Place>) -> Result<Rows<'a>> {
    // Rows after the one in which the user joined.
    let joined = super::counts::joined_at(reader, row)?.map_or(0, |(position, _)| position);
    let start = room_key(reader.room(), &joined.saturating_add(1).to_be_bytes());
    let end = match from {
        Some((position, ordinal)) => {
            let mut end = position.to_be_bytes().to_vec();
            end.extend_from_slice(&ordinal.to_be_bytes());
            // The next row possible.
            end.push(0);
            room_key(reader.room(), &end)
        }
        None => storage::key::prefix_end(reader.room().as_bytes()),
    };
    if !end.is_empty() && start >= end {
        return Ok(Box::new(std::iter::empty()));
    }
    Ok(Box::new(reader.snapshot().scan_rev(tables::TIMELINE, start..end).map(|row| {
        let (key, value): (Bytes, Bytes) = row?;
        let mut place = storage::key::Reader::new(key.get(16..).unwrap_or_default());
        let mut value = storage::key::Reader::new(&value);
        Ok(((place.u64()?, place.u16()?), EventKey::from_bytes(value.id16()?)))
    })))
}

/// Reads a `next_token`.
fn parse(token: &str) -> Result<Place> {
    token
        .strip_prefix('n')
        .and_then(|rest| rest.split_once('_'))
        .and_then(|(position, ordinal)| Some((position.parse().ok()?, ordinal.parse().ok()?)))
        .ok_or_else(|| Error::invalid_param("`from` is no token of an earlier answer."))
}
