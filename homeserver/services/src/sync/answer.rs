//! One answer to a sync, computed from one snapshot.

use super::room::{RoomSync, stripped_state, write_room_key};
use super::{SyncRequest, SyncToken, Syncs};
use crate::accounts::account_data::{self, Item};
use crate::error::Result;
use crate::rooms::client_event::EventForm;
use crate::rooms::memberships::{self, UserRoom};
use crate::rooms::record::write_json_string;
use crate::rooms::visibility::{End, Viewer};
use crate::rooms::{Membership, RoomDeps, RoomReader};
use serde_json::{Map, Value, json};
use state_res::ids::{RoomKey, UserKey};
use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::sync::Arc;
use storage::{Position, Snapshot};

/// One answer, and whether it says anything beyond its token.
pub(super) struct Answer {
    pub(super) json: Vec<u8>,
    pub(super) is_empty: bool,
}

/// One look at everything that is a user's, as it is at one moment.
pub(super) struct Look<'a> {
    syncs: &'a Syncs,
    request: &'a SyncRequest,
    user: UserKey,
    /// What the device has seen.
    since: Option<SyncToken>,
    /// The serial of volatile changes, noted before the snapshot was taken.
    volatile: u64,
    /// How often caches had to forget something, noted likewise.
    changes: u64,
    snapshot: Snapshot,
    rooms: Arc<Vec<UserRoom>>,
    /// Users of whom only state is shown.
    ignored: HashSet<String>,
}

impl<'a> Look<'a> {
    /// Looks now.
    pub(super) fn new(
        syncs: &'a Syncs,
        request: &'a SyncRequest,
        user: UserKey,
        since: Option<SyncToken>,
    ) -> Result<Self> {
        let deps = syncs.rooms.deps();
        let volatile = syncs.ephemeral.serial();
        let changes = deps.caches.changes();
        let epoch = deps.user_rooms.epoch();
        let snapshot = deps.store.snapshot();
        let rooms = deps.user_rooms.of(&snapshot, epoch, user)?;
        let ignored = ignored_users(&snapshot, user)?;
        Ok(Self { syncs, request, user, since, volatile, changes, snapshot, rooms, ignored })
    }

    fn deps(&self) -> &RoomDeps {
        self.syncs.rooms.deps()
    }

    /// Up to where this answer goes.
    fn until(&self) -> Position {
        self.snapshot.position()
    }

    /// What has happened since.
    pub(super) fn answer(&self) -> Result<Answer> {
        let Self { syncs, request, user, since, volatile, changes, snapshot, rooms, .. } = self;
        let (deps, since, until) = (self.deps(), *since, self.until());
        let data = match since {
            None => account_data::global(snapshot, *user)?,
            Some(since) => account_data::changes(snapshot, *user, since.position, until)?,
        };
        let mut global: Vec<Item> = Vec::new();
        let mut by_room: BTreeMap<String, Vec<Item>> = BTreeMap::new();
        for item in data {
            match &item.room_id {
                None => global.push(item),
                Some(room_id) => by_room.entry(room_id.clone()).or_default().push(item),
            }
        }
        if since.is_none()
            && let Some(rules) = syncs.unread.default_rules(snapshot, &request.user_id)?
        {
            global.push(Item { room_id: None, kind: "m.push_rules".to_owned(), content: rules.to_string().into() });
        }

        let mut lists: [(&str, Vec<u8>, bool); 4] =
            [("join", vec![], true), ("invite", vec![], true), ("knock", vec![], true), ("leave", vec![], true)];
        for row in rooms.iter() {
            if !request.filter.room.wants(&row.room_id) {
                continue;
            }
            let reader = syncs.rooms.reader_at(snapshot.clone(), *changes, row.room);
            let (list, json) = match row.membership {
                Membership::Join => {
                    let known = self.known(&reader, row)?;
                    let data = match known {
                        Some(_) => by_room.remove(&row.room_id).unwrap_or_default(),
                        None => account_data::of_room(snapshot, *user, row.room)?,
                    };
                    (0, self.joined(&reader, row, known, &data)?)
                }
                Membership::Invite | Membership::Knock => {
                    let list = if row.membership == Membership::Invite { 1 } else { 2 };
                    (list, self.invited(&reader, row)?)
                }
                Membership::Leave | Membership::Ban => (3, self.left(&reader, row)?),
            };
            if let Some(json) = json {
                let (_, out, first) = &mut lists[list];
                write_room_key(out, &row.room_id, first);
                out.extend_from_slice(&json);
            }
        }

        let (to_device, to_device_until) = syncs.devices.to_device(
            snapshot,
            &request.user_id,
            &request.device_id,
            since.map_or(0, |since| since.to_device),
            until,
        )?;
        let (changed, left) = match since {
            None => (Vec::new(), Vec::new()),
            Some(since) => syncs.devices.device_lists(snapshot, &request.user_id, since.position, until)?,
        };
        let (mut one_time, fallback) = syncs.devices.key_counts(snapshot, &request.user_id, &request.device_id)?;
        // Clients upload new keys when they see none left, not when they see nothing.
        one_time.entry("signed_curve25519".to_owned()).or_insert(0);
        let next = SyncToken { position: until, volatile: *volatile, to_device: to_device_until };

        let rooms: usize = lists.iter().map(|(_, body, _)| body.len()).sum();
        let mut json = Vec::with_capacity(rooms + 1024);
        json.extend_from_slice(b"{\"next_batch\":");
        write_json_string(&mut json, &next.encode(deps.store.incarnation()));
        let mut is_empty = true;
        if lists.iter().any(|(_, _, empty)| !empty) {
            is_empty = false;
            json.extend_from_slice(b",\"rooms\":{");
            let mut first = true;
            for (name, body, empty) in &lists {
                if *empty {
                    continue;
                }
                write_room_key(&mut json, name, &mut first);
                json.push(b'{');
                json.extend_from_slice(body);
                json.push(b'}');
            }
            json.push(b'}');
        }
        let wanted = |item: &&Item| request.filter.account_data.allows_type(&item.kind);
        if global.iter().any(|item| wanted(&item)) {
            is_empty = false;
            json.extend_from_slice(b",\"account_data\":{\"events\":");
            write_account_data(&mut json, global.iter().filter(wanted));
            json.push(b'}');
        }
        if !to_device.is_empty() {
            is_empty = false;
            let _ = write!(json, ",\"to_device\":{{\"events\":[{}]}}", to_device.join(","));
        }
        if !changed.is_empty() || !left.is_empty() {
            is_empty = false;
            let _ = write!(json, ",\"device_lists\":{}", json!({ "changed": changed, "left": left }));
        }
        let _ = write!(
            json,
            ",\"device_one_time_keys_count\":{},\"device_unused_fallback_key_types\":{}}}",
            json!(one_time),
            json!(fallback)
        );
        Ok(Answer { json, is_empty: is_empty && since.is_some() })
    }

    /// What the client has seen of a room: nothing, if the user was not joined to it then. Their row does not say that, as it may have
    /// changed again since they joined.
    fn known(&self, reader: &RoomReader, row: &UserRoom) -> Result<Option<SyncToken>> {
        let Some(since) = self.since else { return Ok(None) };
        if row.position <= since.position {
            return Ok(Some(since));
        }
        let membership = reader.membership_in(reader.root_at(since.position)?, &self.request.user_id)?;
        Ok((membership == Some(Membership::Join)).then_some(since))
    }

    /// A room that the user is in; `known` is what the client has seen of it.
    fn joined(
        &self,
        reader: &RoomReader,
        row: &UserRoom,
        known: Option<SyncToken>,
        data: &[Item],
    ) -> Result<Option<Vec<u8>>> {
        let Self { syncs, request, .. } = self;
        let deps = self.deps();
        let filter = &request.filter.room;
        let position = known.map(|known| known.position);
        let active = match position {
            Some(since) => deps.activity.may_have_changed(reader.snapshot(), row.room, since)?,
            None => true,
        };
        let mut json = vec![b'{'];
        let mut is_empty = true;
        if active || request.full_state {
            let events = self.room(reader, row, position, self.until()).events()?;
            if !events.is_empty || request.full_state {
                is_empty = false;
                json.extend_from_slice(&events.json);
            }
        }
        let ephemeral = self.ephemeral_events(row.room, known)?;
        let receipts_changed = !ephemeral.is_empty();
        if receipts_changed {
            separate(&mut json);
            is_empty = false;
            let _ = write!(json, "\"ephemeral\":{{\"events\":{}}}", Value::Array(ephemeral));
        }
        let wanted = |item: &&Item| filter.account_data.events.allows_type(&item.kind);
        if data.iter().any(|item| wanted(&item)) {
            separate(&mut json);
            is_empty = false;
            json.extend_from_slice(b"\"account_data\":{\"events\":");
            write_account_data(&mut json, data.iter().filter(wanted));
            json.push(b'}');
        }
        // A receipt of the user's own changes their counts even where the filter shows no receipts.
        if is_empty
            && !position.map_or(Ok(false), |since| {
                Ok::<_, crate::Error>(
                    syncs.ephemeral.receipts_may_have_changed(reader.snapshot(), row.room, since)?
                        && syncs.ephemeral.has_read_since(reader.snapshot(), row.room, &request.user_id, since)?,
                )
            })?
        {
            return Ok(None);
        }
        separate(&mut json);
        let by_thread = filter.timeline.unread_thread_notifications;
        let unread = syncs.unread.unread(reader, &request.user_id, by_thread)?;
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
        json.push(b'}');
        Ok(Some(json))
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
        let receipts = match since {
            Some(since) => syncs.ephemeral.receipts_may_have_changed(snapshot, room, since.position)?,
            None => true,
        };
        if receipts
            && filter.allows_type("m.receipt")
            && let Some(content) =
                syncs.ephemeral.receipts(snapshot, room, since.map(|since| since.position), &request.user_id)?
        {
            events.push(json!({ "type": "m.receipt", "content": content }));
        }
        Ok(events)
    }

    fn left(&self, reader: &RoomReader, row: &UserRoom) -> Result<Option<Vec<u8>>> {
        let wanted = match self.since {
            Some(since) => row.position > since.position,
            None => self.request.filter.room.include_leave,
        };
        if !wanted || memberships::is_forgotten(reader.snapshot(), self.user, row.room)? {
            return Ok(None);
        }
        if row.event.is_none() {
            return Ok(Some(b"{\"timeline\":{\"events\":[],\"limited\":false},\"state\":{\"events\":[]}}".to_vec()));
        }
        // What happened between the end and, say, an invite that was turned down, is not the user's to see.
        let viewer = Viewer::new(reader, &self.request.user_id)?;
        let events = match viewer.ended().map(End::position) {
            Some(ended) if self.since.is_none_or(|since| since.position < ended) => {
                self.room(reader, row, self.known(reader, row)?.map(|known| known.position), ended).events()?
            }
            _ => self.room(reader, row, self.since.map(|since| since.position), row.position).only_own_end()?,
        };
        let mut json = vec![b'{'];
        json.extend_from_slice(&events.json);
        json.push(b'}');
        Ok(Some(json))
    }

    fn invited(&self, reader: &RoomReader, row: &UserRoom) -> Result<Option<Vec<u8>>> {
        if self.since.is_some_and(|since| row.position <= since.position) {
            return Ok(None);
        }
        if !self.ignored.is_empty()
            && row.inviter(reader, &self.request.user_id)?.is_some_and(|inviter| self.ignored.contains(&inviter))
        {
            return Ok(None);
        }
        let events = match &row.stripped {
            Some(stripped) => stripped.clone(),
            None => {
                let root = reader.head()?.map_or(state_res::tree::Root::EMPTY, |head| head.root);
                stripped_state(reader, root, row.event)?
            }
        };
        let name = if row.membership == Membership::Invite { "invite_state" } else { "knock_state" };
        Ok(Some(format!("{{\"{name}\":{{\"events\":{events}}}}}").into_bytes()))
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
            device_id: &request.device_id,
            filter: &request.filter.room,
            form: EventForm {
                format: request.filter.event_format,
                fields: request.filter.event_fields.as_deref().unwrap_or_default(),
            },
            since,
            until,
            ignored: &self.ignored,
            full_state: request.full_state,
            state_after: request.state_after,
            now: self.deps().world.now().millis() as i64,
        }
    }
}

/// Users whose invites are not shown (client-server API, "Ignoring Users").
pub(crate) fn ignored_users(snapshot: &Snapshot, user: UserKey) -> Result<HashSet<String>> {
    let Some(content) = account_data::get(snapshot, user, None, "m.ignored_user_list")? else {
        return Ok(HashSet::new());
    };
    let content: Value = serde_json::from_slice(&content).unwrap_or_default();
    Ok(content
        .get("ignored_users")
        .and_then(Value::as_object)
        .map(|users| users.keys().cloned().collect())
        .unwrap_or_default())
}

fn write_account_data<'a>(out: &mut Vec<u8>, items: impl Iterator<Item = &'a Item>) {
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"content\":");
        out.extend_from_slice(&item.content);
        out.extend_from_slice(b",\"type\":");
        write_json_string(out, &item.kind);
        out.push(b'}');
    }
    out.push(b']');
}

/// A comma, where something stands before.
fn separate(json: &mut Vec<u8>) {
    if json.len() > 1 {
        json.push(b',');
    }
}
