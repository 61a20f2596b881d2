//! One answer to a sync, computed from one snapshot.

use super::room::{RoomSync, stripped_state};
use super::{LeftOut, Looking, MAX_LEFT_OUT, SyncRequest, SyncToken, Syncs};
use crate::accounts::account_data::{self, Item};
use crate::error::{Error, Result};
use crate::rooms::client_event::EventForm;
use crate::rooms::memberships::{self, UserRoom};
use crate::rooms::record::write_json_string;
use crate::rooms::visibility::{End, Viewer};
use crate::rooms::{Membership, RoomDeps, RoomReader, user_topic};
use serde_json::{Map, Value, json};
use state_res::ids::{RoomKey, UserKey};
use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::sync::Arc;
use storage::{Position, Snapshot};

/// About what a room takes in an initial sync.
const EXPECTED_ROOM_BYTES: usize = 9 * 1024;
/// Most that is set aside for an answer before it is written.
const MOST_EXPECTED_BYTES: usize = 8 * 1024 * 1024;

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
    /// What it has seen of rooms that could not be shown before.
    held: &'a LeftOut,
    /// The serial of volatile changes, noted before the snapshot was taken.
    volatile: u64,
    /// How often caches had to forget something, noted likewise.
    changes: u64,
    snapshot: Snapshot,
    rooms: Arc<Vec<UserRoom>>,
    /// Users of whom only state is shown.
    ignored: Arc<HashSet<String>>,
    /// A position after which nothing of the user's own has changed; `None` if everything is to be looked at.
    own_news: Option<Position>,
    /// Where what decides which events count as unread last changed, if that was after what the device has seen.
    rules_changed: Option<Position>,
}

impl<'a> Look<'a> {
    /// Looks now.
    pub(super) fn new(
        syncs: &'a Syncs,
        request: &'a SyncRequest,
        user: UserKey,
        since: Option<SyncToken>,
        held: &'a LeftOut,
    ) -> Result<Self> {
        let deps = syncs.rooms.deps();
        let volatile = syncs.ephemeral.serial();
        let changes = deps.caches.changes();
        let epoch = deps.user_rooms.epoch();
        let snapshot = deps.store.snapshot();
        let rooms = deps.user_rooms.of(&snapshot, epoch, user)?;
        let ignored = syncs.ignored.get(&snapshot, user, &user, |_| Ok(Arc::new(ignored_users(&snapshot, user)?)))?;
        let own_news = since.map(|_| deps.store.untouched_since(user_topic(user)));
        let seen = held.values().copied().chain(since.map(|since| since.position)).min();
        let rules_changed = match (seen, own_news) {
            (Some(seen), Some(news)) if news > seen => {
                rules_changed(&snapshot, user)?.filter(|changed| *changed > seen)
            }
            _ => None,
        };
        Ok(Self {
            syncs,
            request,
            user,
            since,
            held,
            volatile,
            changes,
            snapshot,
            rooms,
            ignored,
            own_news,
            rules_changed,
        })
    }

    fn deps(&self) -> &RoomDeps {
        self.syncs.rooms.deps()
    }

    /// Up to where this answer goes.
    fn until(&self) -> Position {
        self.snapshot.position()
    }

    /// What has happened since, in all rooms that can be read.
    pub(super) fn answer(&self) -> Result<Answer> {
        let mut left_out = LeftOut::new();
        loop {
            if let Some(answer) = self.answer_without(&mut left_out)? {
                return Ok(answer);
            }
        }
    }

    /// What has happened since, but for the rooms in `left_out`, to which it adds those that cannot be read. `None` where one of them was
    /// found only when the answer told of it already: then it is to be made anew.
    fn answer_without(&self, left_out: &mut LeftOut) -> Result<Option<Answer>> {
        let Self { syncs, request, user, since, volatile, snapshot, .. } = self;
        let (deps, since, until) = (self.deps(), *since, self.until());
        let data = match since {
            None => account_data::all(snapshot, *user)?,
            Some(since) if self.own_news_after(since.position) => {
                account_data::changes(snapshot, *user, since.position, until)?
            }
            Some(_) => Vec::new(),
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
            global.push(Item { room_id: None, kind: account_data::PUSH_RULES.to_owned(), content: rules });
        }
        let to_device_since = since.map_or(0, |since| since.to_device);
        let (to_device, to_device_until) = if self.own_news_after(to_device_since) {
            syncs.devices.to_device(snapshot, &request.user_id, &request.device_id, to_device_since, until)?
        } else {
            (Vec::new(), until)
        };
        let next = SyncToken { position: until, volatile: *volatile, to_device: to_device_until };

        let expected = if since.is_none() { self.rooms.len() * EXPECTED_ROOM_BYTES } else { 0 };
        let mut json = Vec::with_capacity(2048 + expected.min(MOST_EXPECTED_BYTES));
        json.extend_from_slice(b"{\"next_batch\":");
        let token_at = json.len();
        write_json_string(&mut json, &next.encode(deps.store.incarnation(), &LeftOut::new()));
        let token_at = token_at..json.len();
        let mut is_empty = !self.write_rooms(&mut json, &mut by_room, left_out)?;
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
        let (changed, left) = match since {
            None => (Vec::new(), Vec::new()),
            Some(since) => {
                let looking = Looking { since: self.held, without: left_out };
                let lists = syncs.devices.device_lists(snapshot, &request.user_id, since.position, until, &looking)?;
                if !lists.unreadable.is_empty() {
                    let rooms = self.rooms.iter().filter(|row| lists.unreadable.contains(&row.room));
                    left_out.extend(rooms.map(|row| (row.room, self.seen(row))));
                    return Ok(None);
                }
                (lists.changed, lists.left)
            }
        };
        if left_out.len() > MAX_LEFT_OUT {
            return Err(Error::internal(format!("more than {MAX_LEFT_OUT} rooms of a user cannot be read")));
        }
        if !changed.is_empty() || !left.is_empty() {
            is_empty = false;
            let _ = write!(json, ",\"device_lists\":{}", json!({ "changed": changed, "left": left }));
        }
        json.push(b',');
        json.extend_from_slice(syncs.devices.key_counts(snapshot, &request.user_id, &request.device_id)?.as_bytes());
        json.push(b'}');
        if !left_out.is_empty() {
            let mut token = Vec::new();
            write_json_string(&mut token, &next.encode(deps.store.incarnation(), left_out));
            json.splice(token_at, token);
        }
        Ok(Some(Answer { json, is_empty: is_empty && since.is_some() }))
    }

    /// Whether anything of the user's own (account data, to-device messages, memberships) may have changed after `position`.
    fn own_news_after(&self, position: Position) -> bool {
        self.own_news.is_none_or(|last| last > position)
    }

    /// Up to where the device has seen a room; 0 for nothing.
    fn seen(&self, row: &UserRoom) -> Position {
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
    fn write_rooms(
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
        let Self { syncs, request, .. } = self;
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
        let mut is_empty = true;
        if active || request.full_state {
            let mut room = self.room(reader, row, position, self.until());
            room.left_by = self.left_by(reader, known)?;
            if room.write(json, &viewer)? || request.full_state {
                is_empty = false;
            } else {
                json.truncate(start);
            }
        }
        let no_events = is_empty;
        let ephemeral = self.ephemeral_events(row.room, known)?;
        // Who types changes no counts.
        let mut counts_stand = is_empty && ephemeral.iter().all(|event| event["type"] == "m.typing");
        if !ephemeral.is_empty() {
            separate(json, start);
            is_empty = false;
            let _ = write!(json, "\"ephemeral\":{{\"events\":{}}}", Value::Array(ephemeral));
        }
        let wanted = |item: &&Item| filter.account_data.events.allows_type(&item.kind);
        if data.iter().any(|item| wanted(&item)) {
            separate(json, start);
            (is_empty, counts_stand) = (false, false);
            json.extend_from_slice(b"\"account_data\":{\"events\":");
            write_account_data(json, data.iter().filter(wanted));
            json.push(b'}');
        }
        // Counts change also by what the filter does not show.
        counts_stand = counts_stand
            && !position.map_or(Ok(false), |since| self.counts_may_have_changed(reader, row, since, active))?;
        let judge_anew = |since| self.rules_changed.is_some_and(|changed| changed > since);
        let by_thread = filter.timeline.unread_thread_notifications;
        let unread = if !counts_stand || position.is_some_and(judge_anew) {
            let unread = syncs.unread.unread(&viewer, &self.ignored, by_thread)?;
            let tells = !counts_stand || position.is_some_and(|since| unread.judged_anew > since);
            tells.then_some(unread)
        } else {
            None
        };
        if is_empty && unread.is_none() {
            return Ok(false);
        }
        if no_events && request.state_after {
            separate(json, start);
            json.extend_from_slice(b"\"state_after\":{\"events\":[]}");
        }
        let Some(unread) = unread else {
            json.push(b'}');
            return Ok(true);
        };
        separate(json, start);
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
        Ok(true)
    }

    /// A position at which the user had left a room of which the client knows nothing (any more), though it has been told of it.
    fn left_by(&self, reader: &RoomReader, known: Option<SyncToken>) -> Result<Option<Position>> {
        let (None, Some(since)) = (known, self.since) else { return Ok(None) };
        let before = reader.membership_in(reader.root_at(since.position)?, &self.request.user_id)?;
        Ok(matches!(before, Some(Membership::Leave | Membership::Ban)).then_some(since.position))
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
        if !wanted || memberships::is_forgotten(reader.snapshot(), self.user, row.room)? {
            return Ok(false);
        }
        // Of a room that was deleted here since, this is all there is to tell, too.
        if row.event.is_none() || reader.head()?.is_none() {
            json.extend_from_slice(b"{\"timeline\":{\"events\":[],\"limited\":false},\"state\":{\"events\":[]}}");
            return Ok(true);
        }
        // What happened between the end and, say, an invite that was turned down, is not the user's to see.
        let viewer = Viewer::new(reader, &self.request.user_id)?;
        json.push(b'{');
        match viewer.ended().map(End::position) {
            Some(ended) if seen.is_none_or(|seen| seen.position < ended) => {
                self.room(reader, row, self.known(reader, row)?.map(|known| known.position), ended)
                    .write(json, &viewer)?;
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

/// Where a user's push rules, or whom they ignore, last changed.
fn rules_changed(snapshot: &Snapshot, user: UserKey) -> Result<Option<Position>> {
    let rules = account_data::changed_at(snapshot, user, None, account_data::PUSH_RULES)?;
    Ok(rules.max(account_data::changed_at(snapshot, user, None, account_data::IGNORED_USERS)?))
}

/// Users whose invites are not shown (client-server API, "Ignoring Users").
pub(crate) fn ignored_users(snapshot: &Snapshot, user: UserKey) -> Result<HashSet<String>> {
    let Some(content) = account_data::get(snapshot, user, None, account_data::IGNORED_USERS)? else {
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

/// A comma, where something stands behind `start`.
fn separate(json: &mut Vec<u8>, start: usize) {
    if json.len() > start {
        json.push(b',');
    }
}
