//! One answer to a sync, computed from one snapshot.

mod rooms;

use super::{LeftOut, Looking, MAX_LEFT_OUT, SyncRequest, SyncToken, Syncs};
use crate::accounts::account_data::{self, Item};
use crate::error::{Error, Result};
use crate::rooms::memberships::UserRoom;
use crate::rooms::record::write_json_string;
use crate::rooms::{RoomDeps, user_topic};
use serde_json::{Value, json};
use state_res::ids::UserKey;
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
