//! What an answer tells of each room.

use super::{Look, write_account_data};
use crate::accounts::account_data::{self, Item};
use crate::accounts::invite_permission;
use crate::error::Result;
use crate::rooms::client_event::EventForm;
use crate::rooms::memberships::{self, UserRoom};
use crate::rooms::record::write_json_string;
use crate::rooms::visibility::{End, Viewer, was_joined_before};
use crate::rooms::{Membership, RoomReader};
use crate::sync::room::{RoomSync, stripped_state};
use crate::sync::{LeftOut, SyncToken, Unread};
use serde_json::{Map, Value, json};
use state_res::ids::RoomKey;
use std::collections::BTreeMap;
use std::io::Write as _;
use storage::Position;

impl Look<'_> {
    /// Up to where the device has seen a room; 0 for nothing.
    pub(super) fn seen(&self, row: &UserRoom) -> Position {
        self.since_in(row).map_or(0, |since| since.position)
    }

    /// What the device has seen of a room, whether the user was joined to it or not.
    fn since_in(&self, row: &UserRoom) -> Option<SyncToken> {
        match self.held.get(&row.room) {
            None => self.since,
            Some(0) => None,
            Some(seen) => {
                self.since.map(|since| SyncToken { position: since.position.min(*seen), volatile: 0, ..since })
            }
        }
    }

    /// Appends `,"rooms":{…}`, if there is anything to tell of any; gives whether there is. `data` holds the account data of rooms. Rooms in
    /// `left_out` are passed over, and those that cannot be read added to it.
    pub(super) fn write_rooms(
        &self,
        json: &mut Vec<u8>,
        data: &mut BTreeMap<String, Vec<Item>>,
        left_out: &mut LeftOut,
    ) -> Result<bool> {
        let deps = self.deps();
        let lists: [(&str, &[Membership]); 4] = [
            ("join", &[Membership::Join]),
            ("invite", &[Membership::Invite]),
            ("knock", &[Membership::Knock]),
            ("leave", &[Membership::Leave, Membership::Ban]),
        ];
        let mut any = false;
        for (name, memberships) in lists {
            let mut first = true;
            for row in self.rooms.iter().filter(|row| memberships.contains(&row.membership)) {
                if !self.request.filter.room.wants(&row.room_id) || left_out.contains_key(&row.room) {
                    continue;
                }
                let start = json.len();
                if first {
                    json.extend_from_slice(if any { b"," } else { b",\"rooms\":{" });
                    write_json_string(json, name);
                    json.extend_from_slice(b":{");
                } else {
                    json.push(b',');
                }
                write_json_string(json, &row.room_id);
                json.push(b':');
                match deps.unreadable.attempt(&deps.world, row, || self.write_room(json, row, data))? {
                    Some(true) => (first, any) = (false, true),
                    Some(false) => json.truncate(start),
                    None => {
                        json.truncate(start);
                        left_out.insert(row.room, self.seen(row));
                    }
                }
            }
            if !first {
                json.push(b'}');
            }
        }
        if any {
            json.push(b'}');
        }
        Ok(any)
    }

    /// Appends a room's object, if there is anything to tell; gives whether there is.
    fn write_room(&self, json: &mut Vec<u8>, row: &UserRoom, data: &mut BTreeMap<String, Vec<Item>>) -> Result<bool> {
        // Of most rooms there is nothing to tell, and most of what would say so is in memory.
        let reader = self.syncs.rooms.reader_at(self.snapshot.clone(), self.changes, row.room);
        match row.membership {
            Membership::Join => {
                let known = self.known(&reader, row)?;
                let is_new = known.is_none() && self.since.is_some();
                let own = if is_new || self.held.contains_key(&row.room) {
                    account_data::of_room(&self.snapshot, self.user, row.room)?
                } else {
                    data.remove(&row.room_id).unwrap_or_default()
                };
                self.joined(json, &reader, row, known, &own)
            }
            Membership::Invite | Membership::Knock => self.invited(json, &reader, row),
            Membership::Leave | Membership::Ban => self.left(json, &reader, row),
        }
    }

    /// What the client has seen of a room: nothing, if the user was not joined to it then. Their row does not say that, as it may have
    /// changed again since they joined.
    fn known(&self, reader: &RoomReader, row: &UserRoom) -> Result<Option<SyncToken>> {
        let Some(since) = self.since_in(row) else { return Ok(None) };
        if row.position <= since.position {
            return Ok(Some(since));
        }
        let membership = reader.membership_in(reader.root_at(since.position)?, &self.request.user_id)?;
        Ok((membership == Some(Membership::Join)).then_some(since))
    }

    /// A room that the user is in; `known` is what the client has seen of it.
    fn joined(
        &self,
        json: &mut Vec<u8>,
        reader: &RoomReader,
        row: &UserRoom,
        known: Option<SyncToken>,
        data: &[Item],
    ) -> Result<bool> {
        let request = self.request;
        let deps = self.deps();
        let filter = &request.filter.room;
        let position = known.map(|known| known.position);
        let active = match position {
            Some(since) => deps.caches.activity.may_have_changed(reader.snapshot(), row.room, since)?,
            None => true,
        };
        let viewer = Viewer::joined(reader, &request.user_id, self.user);
        json.push(b'{');
        let start = json.len();
        let mut tells_events = false;
        if active || request.full_state {
            let mut room = self.room(reader, row, position, self.until());
            room.left_by = self.left_by(reader, row, known)?;
            tells_events = room.write(json, &viewer)? || request.full_state;
            if !tells_events {
                json.truncate(start);
            }
        }
        let wants_ephemeral = filter.ephemeral.wants_room(&row.room_id);
        let ephemeral = if wants_ephemeral { self.ephemeral_events(row.room, known)? } else { Vec::new() };
        let wants_data = filter.account_data.wants_room(&row.room_id);
        let wanted = |item: &&Item| wants_data && filter.account_data.events.allows_type(&item.kind);
        let data: Vec<&Item> = data.iter().filter(wanted).collect();
        // Counts go with all else that is told, but for who types, which changes none.
        let with_counts = tells_events || !data.is_empty() || ephemeral.iter().any(|event| event["type"] != "m.typing");
        let unread = self.unread(&viewer, row, position, active, with_counts)?;
        if !tells_events && ephemeral.is_empty() && data.is_empty() && unread.is_none() {
            return Ok(false);
        }
        if !tells_events && request.state_after {
            json.extend_from_slice(b"\"state_after\":{\"events\":[]}");
        }
        if !ephemeral.is_empty() {
            separate(json, start);
            let _ = write!(json, "\"ephemeral\":{{\"events\":{}}}", Value::Array(ephemeral));
        }
        if !data.is_empty() {
            separate(json, start);
            json.extend_from_slice(b"\"account_data\":{\"events\":");
            write_account_data(json, data.into_iter());
            json.push(b'}');
        }
        if let Some(unread) = unread {
            separate(json, start);
            write_unread(json, unread, filter.timeline.unread_thread_notifications);
        }
        json.push(b'}');
        Ok(true)
    }

    /// What is unread in a room that the user is in, if that is to be told: `anyway`, or because it may have become something else since
    /// `position` (by what the filter does not show, too), or has become so by the user's rules.
    fn unread(
        &self,
        viewer: &Viewer<'_>,
        row: &UserRoom,
        position: Option<Position>,
        active: bool,
        anyway: bool,
    ) -> Result<Option<Unread>> {
        let changed = |since| self.counts_may_have_changed(viewer.reader(), row, since, active);
        let tell = anyway || position.map_or(Ok(false), changed)?;
        let rules_changed = position.is_some_and(|since| self.rules_changed.is_some_and(|changed| changed > since));
        if !tell && !rules_changed {
            return Ok(None);
        }
        let by_thread = self.request.filter.room.timeline.unread_thread_notifications;
        let unread = self.syncs.unread.unread(viewer, &self.ignored, by_thread)?;
        let tell = tell || position.is_some_and(|since| unread.judged_anew > since);
        Ok(tell.then_some(unread))
    }

    /// A position at which the user had left a room of which the client knows nothing (any more), though it has been told of it. An invite
    /// or a knock since they left changes nothing about that.
    fn left_by(&self, reader: &RoomReader, row: &UserRoom, known: Option<SyncToken>) -> Result<Option<Position>> {
        let (None, Some(since)) = (known, self.since_in(row)) else { return Ok(None) };
        let user_id = self.request.user_id.as_str();
        let root = reader.root_at(since.position)?;
        let had_left = match reader.membership_in(root, user_id)? {
            Some(Membership::Leave | Membership::Ban) => true,
            Some(Membership::Invite | Membership::Knock) => {
                match reader.state_event_key(root, "m.room.member", user_id)? {
                    Some(member) => was_joined_before(reader, member)?,
                    None => false,
                }
            }
            Some(Membership::Join) | None => false,
        };
        Ok(had_left.then_some(since.position))
    }

    /// Whether a user's unread counts in a room they are in may be others than at `since`: something was said (only if it is `active`; most
    /// rooms are not, and the store is not asked about them), or they have read.
    fn counts_may_have_changed(
        &self,
        reader: &RoomReader,
        row: &UserRoom,
        since: Position,
        active: bool,
    ) -> Result<bool> {
        let ephemeral = &self.syncs.ephemeral;
        Ok(active && reader.announced(since, self.until())?.next().transpose()?.is_some()
            || self.own_news_after(since)
                && ephemeral.receipts_may_have_changed(reader.snapshot(), row.room, since)?
                && ephemeral.has_read_since(reader.snapshot(), row.room, &self.request.user_id, since)?)
    }

    /// Typing and receipts; all that there are for who knows nothing of the room.
    fn ephemeral_events(&self, room: RoomKey, since: Option<SyncToken>) -> Result<Vec<Value>> {
        let Self { syncs, request, snapshot, .. } = self;
        let filter = &request.filter.room.ephemeral.events;
        let mut events = Vec::new();
        if filter.allows_type("m.typing")
            && let Some(users) = syncs.ephemeral.typing(room, since.map(|since| since.volatile))
        {
            events.push(json!({ "type": "m.typing", "content": { "user_ids": users } }));
        }
        let position = since.map(|since| since.position);
        if syncs.ephemeral.receipts_may_have_changed(snapshot, room, position.unwrap_or(0))?
            && filter.allows_type("m.receipt")
        {
            for content in syncs.ephemeral.receipts(snapshot, room, position, &request.user_id)? {
                events.push(json!({ "type": "m.receipt", "content": content }));
            }
        }
        Ok(events)
    }

    fn left(&self, json: &mut Vec<u8>, reader: &RoomReader, row: &UserRoom) -> Result<bool> {
        let seen = self.since_in(row);
        let wanted = match self.since {
            Some(_) => seen.is_none_or(|seen| row.position > seen.position),
            None => self.request.filter.room.include_leave,
        };
        // A device that knows the room has to hear that it is left, also if the user has forgotten it since.
        let is_forgotten = memberships::is_forgotten(reader.snapshot(), self.user, row.room)?;
        let was_there = matches!(row.previous, Some(Membership::Join | Membership::Invite | Membership::Knock));
        if !wanted || is_forgotten && (seen.is_none() || !was_there) {
            return Ok(false);
        }
        // Of a room that was deleted here since, this is all there is to tell, too.
        if is_forgotten || row.event.is_none() || reader.head()?.is_none() {
            let state = if self.request.state_after { "state_after" } else { "state" };
            let _ = write!(json, "{{\"timeline\":{{\"events\":[],\"limited\":false}},\"{state}\":{{\"events\":[]}}}}");
            return Ok(true);
        }
        // What happened between the end and, say, an invite that was turned down, is not the user's to see.
        let viewer = Viewer::new(reader, &self.request.user_id)?;
        json.push(b'{');
        match viewer.ended().map(End::position) {
            Some(ended) if seen.is_none_or(|seen| seen.position < ended) => {
                let known = self.known(reader, row)?;
                let mut room = self.room(reader, row, known.map(|known| known.position), ended);
                room.left_by = self.left_by(reader, row, known)?;
                room.write(json, &viewer)?;
            }
            _ => self
                .room(reader, row, seen.map(|seen| seen.position), row.position)
                .write_only_own_end(json, &viewer)?,
        }
        json.push(b'}');
        Ok(true)
    }

    fn invited(&self, json: &mut Vec<u8>, reader: &RoomReader, row: &UserRoom) -> Result<bool> {
        if self.since_in(row).is_some_and(|since| row.position <= since.position) {
            return Ok(false);
        }
        if row.membership == Membership::Invite && invite_permission::blocks_all(&self.snapshot, self.user)? {
            return Ok(false);
        }
        if !self.ignored.is_empty()
            && row.inviter(reader, &self.request.user_id)?.is_some_and(|inviter| self.ignored.contains(&inviter))
        {
            return Ok(false);
        }
        let events = match &row.stripped {
            Some(stripped) => stripped.clone(),
            None => {
                let root = reader.head()?.map_or(state_res::tree::Root::EMPTY, |head| head.root);
                stripped_state(reader, root, row.event)?
            }
        };
        let name = if row.membership == Membership::Invite { "invite_state" } else { "knock_state" };
        let _ = write!(json, "{{\"{name}\":{{\"events\":{events}}}}}");
        Ok(true)
    }

    /// A room, to be looked at after `since` and up to `until`.
    fn room<'b>(
        &'b self,
        reader: &'b RoomReader,
        row: &'b UserRoom,
        since: Option<Position>,
        until: Position,
    ) -> RoomSync<'b> {
        let request = self.request;
        RoomSync {
            reader,
            row,
            user_id: &request.user_id,
            user: self.user,
            device_id: &request.device_id,
            filter: &request.filter.room,
            form: EventForm {
                format: request.filter.event_format,
                fields: request.filter.event_fields.as_deref().unwrap_or_default(),
            },
            since,
            left_by: None,
            until,
            ignored: &self.ignored,
            full_state: request.full_state,
            state_after: request.state_after,
            now: self.deps().world.now().millis() as i64,
        }
    }
}

/// Counts of what is unread, without braces around them.
fn write_unread(json: &mut Vec<u8>, unread: Unread, by_thread: bool) {
    let _ = write!(
        json,
        "\"unread_notifications\":{{\"highlight_count\":{},\"notification_count\":{}}}",
        unread.highlights, unread.notifications
    );
    if by_thread {
        let threads: Map<String, Value> = unread
            .threads
            .into_iter()
            .map(|(root, (notifications, highlights))| {
                (root, json!({ "notification_count": notifications, "highlight_count": highlights }))
            })
            .collect();
        let _ = write!(json, ",\"unread_thread_notifications\":{}", Value::Object(threads));
    }
}

/// A comma, where something stands behind `start`.
fn separate(json: &mut Vec<u8>, start: usize) {
    if json.len() > start {
        json.push(b',');
    }
}
