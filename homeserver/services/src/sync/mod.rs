//! `GET /sync`: everything that happened since a token, at once or as soon as something does.
//!
//! An answer is computed from one snapshot; the token it carries names that snapshot's position. A waiting client subscribes to its own
//! topic and those of its rooms *before* the snapshot is taken, so that what the snapshot lacks wakes it.

mod room;
mod timeline;
mod token;

pub use room::{RoomSync, STRIPPED_TYPES, stripped_state};
pub use token::SyncToken;

use crate::accounts::account_data::{self, Item};
use crate::accounts::filters::{EventFilter, SyncFilter};
use crate::ephemeral::Ephemeral;
use crate::error::Result;
use crate::rooms::memberships::{self, UserRoom};
use crate::rooms::record::write_json_string;
use crate::rooms::{self, Membership, Rooms};
use async_trait::async_trait;
use room::write_room_key;
use serde_json::{Map, Value, json};
use state_res::ids::{RoomKey, UserKey};
use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;
use storage::{Position, Snapshot, Topic};

/// Longest time that a client may wait.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(180);

/// Who syncs, and how.
#[derive(Debug, Clone)]
pub struct SyncRequest {
    /// The user.
    pub user_id: String,
    /// Their device.
    pub device_id: String,
    /// What to leave out.
    pub filter: SyncFilter,
    /// The token of the last answer.
    pub since: Option<String>,
    /// Tell all state.
    pub full_state: bool,
    /// State at the end of the timeline.
    pub state_after: bool,
    /// How long to wait.
    pub timeout: Duration,
}

/// What is kept for a device apart from rooms: to-device messages, device lists, keys.
#[async_trait]
pub trait DeviceFeed: Send + Sync {
    /// To-device messages for a device after `since` and up to `until`, each as JSON text, and the position up to which they are complete
    /// (`until`, unless there were too many).
    fn to_device(
        &self,
        snapshot: &Snapshot,
        user_id: &str,
        device_id: &str,
        since: Position,
        until: Position,
    ) -> Result<(Vec<String>, Position)>;

    /// The device has received everything up to `position`.
    async fn acknowledge(&self, user_id: &str, device_id: &str, position: Position) -> Result<()>;

    /// Users of other people's (and the user's own) device lists that changed after `since` and up to `until`, among those who share a
    /// room with the user; and those who share none any more.
    fn device_lists(
        &self,
        snapshot: &Snapshot,
        user_id: &str,
        since: Position,
        until: Position,
    ) -> Result<(Vec<String>, Vec<String>)>;

    /// One-time keys left by algorithm, and algorithms with an unused fallback key.
    fn key_counts(
        &self,
        snapshot: &Snapshot,
        user_id: &str,
        device_id: &str,
    ) -> Result<(BTreeMap<String, u64>, Vec<String>)>;
}

/// Counts of what a user has not read in a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unread {
    /// Notifications (outside threads, where threads are counted apart).
    pub notifications: u64,
    /// Of those, highlights.
    pub highlights: u64,
    /// By thread root: notifications, highlights.
    pub threads: BTreeMap<String, (u64, u64)>,
}

/// Who counts what is unread.
pub trait UnreadCounts: Send + Sync {
    /// The counts of a user in the room of `reader`, threads apart if `by_thread`.
    fn unread(&self, reader: &rooms::RoomReader, user_id: &str, by_thread: bool) -> Result<Unread>;

    /// The content of `m.push_rules` for a user whose account data do not say it: the default rules.
    fn default_rules(&self, snapshot: &Snapshot, user_id: &str) -> Result<Option<Value>>;
}

/// Answers syncs. Cheap to clone.
#[derive(Clone)]
pub struct Syncs {
    rooms: Rooms,
    ephemeral: Ephemeral,
    devices: Arc<dyn DeviceFeed>,
    unread: Arc<dyn UnreadCounts>,
    /// Ends waits when the server stops.
    stopping: tokio_util::sync::CancellationToken,
}

/// One answer, and whether it says anything beyond its token.
struct Answer {
    json: Vec<u8>,
    is_empty: bool,
}

impl Syncs {
    /// Syncs of the users of `rooms`.
    #[must_use]
    pub fn new(
        rooms: Rooms,
        ephemeral: Ephemeral,
        devices: Arc<dyn DeviceFeed>,
        unread: Arc<dyn UnreadCounts>,
        stopping: tokio_util::sync::CancellationToken,
    ) -> Self {
        Self { rooms, ephemeral, devices, unread, stopping }
    }

    /// Answers a sync: JSON text.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` for a bad token.
    pub async fn sync(&self, request: &SyncRequest) -> Result<Vec<u8>> {
        let store = &self.rooms.deps().store;
        let world = &self.rooms.deps().world;
        let since = match request.since.as_deref() {
            None | Some("") => None,
            Some(text) => SyncToken::decode(text, store.incarnation())?,
        };
        // A token from before a crash that lost logged positions lies ahead of the log: nothing it saw is missing, so it counts as now.
        let since = since.map(|token| SyncToken {
            position: token.position.min(store.position()),
            to_device: token.to_device.min(store.position()),
            ..token
        });
        if let Some(since) = since {
            self.devices.acknowledge(&request.user_id, &request.device_id, since.to_device).await?;
        }
        let user = UserKey::of(&request.user_id);
        let deadline = world.monotonic() + request.timeout.min(MAX_TIMEOUT);
        let wait = since.is_some() && !request.full_state && !request.timeout.is_zero();
        if !wait {
            return self.answer(request, user, since).map(|answer| answer.json);
        }
        loop {
            let mut changes = store.subscribe(&self.topics(user)?);
            // Most long polls come back right after the last answer, and there is nothing to look for: what comes later wakes.
            let mut nothing_new = self.nothing_new(since, changes.untouched_since());
            // Subscribed to the rooms as they were a moment ago; a change of rooms wakes by the user's own topic.
            loop {
                if !std::mem::take(&mut nothing_new) {
                    let answer = self.answer(request, user, since)?;
                    if !answer.is_empty || world.monotonic() >= deadline {
                        return Ok(answer.json);
                    }
                }
                let left = deadline.saturating_sub(world.monotonic());
                let woken = tokio::select! {
                    biased;
                    () = self.stopping.cancelled() => false,
                    changed = world.timeout(left, changes.changed()) => changed.is_ok(),
                };
                if !woken {
                    // One last look, so that the token is as fresh as can be.
                    return self.answer(request, user, since).map(|answer| answer.json);
                }
                if self.rooms_changed(user, since)? {
                    break;
                }
            }
        }
    }

    /// Whether a client that has this token has all there is, where nothing it follows has been touched after `untouched_since`.
    fn nothing_new(&self, since: Option<SyncToken>, untouched_since: Position) -> bool {
        since.is_some_and(|since| {
            since.position >= untouched_since
                && since.to_device >= since.position
                && since.volatile >= self.ephemeral.serial()
        })
    }

    /// Whether the user's memberships changed since the token, so that other topics matter.
    fn rooms_changed(&self, user: UserKey, since: Option<SyncToken>) -> Result<bool> {
        let deps = self.rooms.deps();
        let epoch = deps.user_rooms.epoch();
        let rooms = deps.user_rooms.of(&deps.store.snapshot(), epoch, user)?;
        Ok(since.is_none_or(|since| rooms.iter().any(|room| room.position > since.position)))
    }

    fn topics(&self, user: UserKey) -> Result<Vec<Topic>> {
        let deps = self.rooms.deps();
        let epoch = deps.user_rooms.epoch();
        let rooms = deps.user_rooms.of(&deps.store.snapshot(), epoch, user)?;
        let mut topics = vec![rooms::user_topic(user)];
        topics.extend(
            rooms.iter().filter(|room| room.membership == Membership::Join).map(|room| rooms::topic(room.room)),
        );
        Ok(topics)
    }

    fn answer(&self, request: &SyncRequest, user: UserKey, since: Option<SyncToken>) -> Result<Answer> {
        let deps = self.rooms.deps();
        let volatile = self.ephemeral.serial();
        let changes = deps.caches.changes();
        let epoch = deps.user_rooms.epoch();
        let snapshot = deps.store.snapshot();
        let until = snapshot.position();
        let rows = deps.user_rooms.of(&snapshot, epoch, user)?;
        let ignored = ignored_users(&snapshot, user)?;

        let data = match since {
            None => account_data::global(&snapshot, user)?,
            Some(since) => account_data::changes(&snapshot, user, since.position, until)?,
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
            && let Some(rules) = self.unread.default_rules(&snapshot, &request.user_id)?
        {
            global.push(Item { room_id: None, kind: "m.push_rules".to_owned(), content: rules.to_string().into() });
        }

        let mut lists: [(&str, Vec<u8>, bool); 4] =
            [("join", vec![], true), ("invite", vec![], true), ("knock", vec![], true), ("leave", vec![], true)];
        for row in rows.iter() {
            if !request.filter.room.wants(&row.room_id) {
                continue;
            }
            let reader = self.rooms.reader_at(snapshot.clone(), changes, row.room);
            let (list, json) = match row.membership {
                Membership::Join => {
                    let data = match since {
                        Some(since) if row.position <= since.position => {
                            by_room.remove(&row.room_id).unwrap_or_default()
                        }
                        _ => account_data::of_room(&snapshot, user, row.room)?,
                    };
                    (0, self.joined(request, &reader, row, since, until, data, &ignored)?)
                }
                Membership::Invite | Membership::Knock => {
                    let list = if row.membership == Membership::Invite { 1 } else { 2 };
                    (list, invited(&reader, row, since, &ignored)?)
                }
                Membership::Leave | Membership::Ban => {
                    (3, self.left(request, &reader, user, row, since, until, &ignored)?)
                }
            };
            if let Some(json) = json {
                let (_, out, first) = &mut lists[list];
                write_room_key(out, &row.room_id, first);
                out.extend_from_slice(&json);
            }
        }

        let (to_device, to_device_until) = self.devices.to_device(
            &snapshot,
            &request.user_id,
            &request.device_id,
            since.map_or(0, |since| since.to_device),
            until,
        )?;
        let (changed, left) = match since {
            None => (Vec::new(), Vec::new()),
            Some(since) => self.devices.device_lists(&snapshot, &request.user_id, since.position, until)?,
        };
        let (mut one_time, fallback) = self.devices.key_counts(&snapshot, &request.user_id, &request.device_id)?;
        // Clients upload new keys when they see none left, not when they see nothing.
        one_time.entry("signed_curve25519".to_owned()).or_insert(0);
        let next = SyncToken { position: until, volatile, to_device: to_device_until };

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

    #[expect(clippy::too_many_arguments, reason = "one call; what an answer is made of")]
    fn joined(
        &self,
        request: &SyncRequest,
        reader: &rooms::RoomReader,
        row: &UserRoom,
        since: Option<SyncToken>,
        until: Position,
        data: Vec<Item>,
        ignored: &HashSet<String>,
    ) -> Result<Option<Vec<u8>>> {
        let deps = self.rooms.deps();
        let filter = &request.filter.room;
        let position = since.map(|since| since.position);
        let is_new = position.is_none_or(|since| row.position > since);
        let active = match position {
            Some(since) if !is_new => deps.activity.may_have_changed(reader.snapshot(), row.room, since)?,
            _ => true,
        };
        let mut json = vec![b'{'];
        let mut is_empty = true;
        if active || request.full_state {
            let events = RoomSync {
                reader,
                row,
                user_id: &request.user_id,
                device_id: &request.device_id,
                filter,
                since: position,
                until,
                ignored,
                full_state: request.full_state,
                state_after: request.state_after,
                now: deps.world.now().millis() as i64,
            }
            .events()?;
            if !events.is_empty || request.full_state {
                is_empty = false;
                json.extend_from_slice(&events.json);
            }
        }
        let ephemeral = self.ephemeral_events(
            request,
            reader.snapshot(),
            row.room,
            position,
            since.map(|since| since.volatile),
            is_new,
        )?;
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
                    self.ephemeral.receipts_may_have_changed(reader.snapshot(), row.room, since)?
                        && self.ephemeral.has_read_since(reader.snapshot(), row.room, &request.user_id, since)?,
                )
            })?
        {
            return Ok(None);
        }
        separate(&mut json);
        let by_thread = filter.timeline.unread_thread_notifications;
        let unread = self.unread.unread(reader, &request.user_id, by_thread)?;
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

    fn ephemeral_events(
        &self,
        request: &SyncRequest,
        snapshot: &Snapshot,
        room: RoomKey,
        since: Option<Position>,
        volatile: Option<u64>,
        is_new: bool,
    ) -> Result<Vec<Value>> {
        let filter: &EventFilter = &request.filter.room.ephemeral.events;
        let mut events = Vec::new();
        if filter.allows_type("m.typing")
            && let Some(users) = self.ephemeral.typing(room, if is_new { None } else { volatile })
        {
            events.push(json!({ "type": "m.typing", "content": { "user_ids": users } }));
        }
        let receipts = match since {
            Some(since) if !is_new => self.ephemeral.receipts_may_have_changed(snapshot, room, since)?,
            _ => true,
        };
        if receipts
            && filter.allows_type("m.receipt")
            && let Some(content) =
                self.ephemeral.receipts(snapshot, room, if is_new { None } else { since }, &request.user_id)?
        {
            events.push(json!({ "type": "m.receipt", "content": content }));
        }
        Ok(events)
    }

    #[expect(clippy::too_many_arguments, reason = "one call; what an answer is made of")]
    fn left(
        &self,
        request: &SyncRequest,
        reader: &rooms::RoomReader,
        user: UserKey,
        row: &UserRoom,
        since: Option<SyncToken>,
        until: Position,
        ignored: &HashSet<String>,
    ) -> Result<Option<Vec<u8>>> {
        let wanted = match since {
            Some(since) => row.position > since.position,
            None => request.filter.room.include_leave,
        };
        if !wanted || memberships::is_forgotten(reader.snapshot(), user, row.room)? {
            return Ok(None);
        }
        if row.event.is_none() {
            return Ok(Some(b"{\"timeline\":{\"events\":[],\"limited\":false},\"state\":{\"events\":[]}}".to_vec()));
        }
        let events = RoomSync {
            reader,
            row,
            user_id: &request.user_id,
            device_id: &request.device_id,
            filter: &request.filter.room,
            since: since.map(|since| since.position),
            until: row.position.min(until),
            ignored,
            full_state: request.full_state,
            state_after: request.state_after,
            now: self.rooms.deps().world.now().millis() as i64,
        }
        .events()?;
        let mut json = vec![b'{'];
        json.extend_from_slice(&events.json);
        json.push(b'}');
        Ok(Some(json))
    }
}

fn invited(
    reader: &rooms::RoomReader,
    row: &UserRoom,
    since: Option<SyncToken>,
    ignored: &HashSet<String>,
) -> Result<Option<Vec<u8>>> {
    if since.is_some_and(|since| row.position <= since.position) {
        return Ok(None);
    }
    let events = match (&row.stripped, row.event) {
        (Some(stripped), _) => stripped.clone(),
        (None, event) => {
            if let Some(event) = event
                && row.membership == Membership::Invite
                && ignored.contains(&reader.required_stored(event)?.sender())
            {
                return Ok(None);
            }
            let root = reader.head()?.map_or(state_res::tree::Root::EMPTY, |head| head.root);
            stripped_state(reader, root, event)?
        }
    };
    let name = if row.membership == Membership::Invite { "invite_state" } else { "knock_state" };
    Ok(Some(format!("{{\"{name}\":{{\"events\":{events}}}}}").into_bytes()))
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
