//! What is not kept in rooms' histories: who is typing, who has read what.
//!
//! Typing is volatile and never touches the log. Receipts are logged without waiting for the disk.

use crate::commit::commit_freely;
use crate::error::Result;
use crate::rooms::activity::Activity;
use crate::rooms::reader::room_key;
use crate::rooms::topic;
use crate::tables;
use net::World;
use parking_lot::Mutex;
use serde_json::{Value, json};
use state_res::ids::{RoomKey, UserKey};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use storage::{Batch, Class, Position, PositionedValue, Snapshot, Store, key};

/// Longest time for which one notice of typing holds.
pub const MAX_TYPING: Duration = Duration::from_secs(120);
/// Most users shown as typing in a room.
const MAX_TYPING_USERS: usize = 100;

/// Typing and receipts. Cheap to clone.
#[derive(Clone)]
pub struct Ephemeral {
    store: Store,
    world: World,
    typing: Arc<Mutex<HashMap<RoomKey, Typing>>>,
    /// When receipts last changed in each room.
    receipts: Arc<Activity>,
    /// Grows with each change of who is typing. Starts at the time of day, so that tokens of an earlier run are older.
    serial: Arc<AtomicU64>,
    /// The serial at the start.
    start: u64,
}

#[derive(Default)]
struct Typing {
    /// Until when, by the world's monotonic clock.
    users: BTreeMap<String, Duration>,
    /// Serial of the last change.
    changed: u64,
}

/// A receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Who has read.
    pub user_id: String,
    /// `m.read` or `m.read.private`.
    pub kind: String,
    /// `main`, a thread root's event id, or nothing.
    pub thread: Option<String>,
    /// Up to which event.
    pub event_id: String,
    /// When, in milliseconds.
    pub ts: i64,
}

/// By event, kind and user.
type ReceiptContent = BTreeMap<String, BTreeMap<String, BTreeMap<String, Value>>>;

impl Ephemeral {
    /// Nobody types, and the receipts are those in `store`.
    #[must_use]
    pub fn new(store: Store, world: World) -> Self {
        let start = world.now().millis();
        let receipts = Arc::new(Activity::of(tables::RECEIPTS_BY_POSITION));
        Self { store, world, typing: Arc::default(), receipts, serial: Arc::new(AtomicU64::new(start)), start }
    }

    /// The serial of the latest volatile change, for sync tokens.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial.load(Ordering::Acquire)
    }

    /// A user starts typing (for at most [`MAX_TYPING`]) or stops. Gives whether that changed who is typing. `ended` is called if their time
    /// runs out.
    pub fn set_typing(
        &self,
        room_id: &str,
        user_id: &str,
        typing: Option<Duration>,
        ended: impl FnOnce() + Send + 'static,
    ) -> bool {
        let room = RoomKey::of(room_id);
        let now = self.world.monotonic();
        let changed = {
            let mut rooms = self.typing.lock();
            let entry = rooms.entry(room).or_default();
            entry.users.retain(|_, until| *until > now);
            let changed = match typing {
                Some(duration) if entry.users.len() < MAX_TYPING_USERS => {
                    entry.users.insert(user_id.to_owned(), now + duration.min(MAX_TYPING)).is_none()
                }
                Some(_) => false,
                None => entry.users.remove(user_id).is_some(),
            };
            if changed {
                entry.changed = self.serial.fetch_add(1, Ordering::AcqRel) + 1;
            }
            changed
        };
        if changed {
            self.store.volatile().notify(topic(room));
        }
        if let Some(duration) = typing.filter(|_| changed) {
            let this = self.clone();
            let user_id = user_id.to_owned();
            self.world.spawn("typing ends", async move {
                let mut wait = duration.min(MAX_TYPING);
                loop {
                    this.world.sleep(wait).await;
                    match this.typing_left(room, &user_id) {
                        Some(left) => wait = left,
                        None => break,
                    }
                }
                if this.end_typing(room, &user_id) {
                    ended();
                }
            });
        }
        changed
    }

    /// How much longer a user's notice holds; `None` when it has ended.
    fn typing_left(&self, room: RoomKey, user_id: &str) -> Option<Duration> {
        let until = *self.typing.lock().get(&room)?.users.get(user_id)?;
        until.checked_sub(self.world.monotonic()).filter(|left| !left.is_zero())
    }

    /// A user types no more in a room: their time is up, they have said it, or they are not in the room any more. Gives whether they typed.
    pub fn end_typing(&self, room: RoomKey, user_id: &str) -> bool {
        {
            let mut rooms = self.typing.lock();
            let Some(entry) = rooms.get_mut(&room) else { return false };
            if entry.users.remove(user_id).is_none() {
                return false;
            }
            entry.changed = self.serial.fetch_add(1, Ordering::AcqRel) + 1;
        }
        self.store.volatile().notify(topic(room));
        true
    }

    /// Who is typing in a room, if that changed after the serial `since` (or anyone is, where there is no `since`). Who typed when the
    /// program last ended is not known: to a `since` of that time, everything counts as changed.
    #[must_use]
    pub fn typing(&self, room: RoomKey, since: Option<u64>) -> Option<Vec<String>> {
        let is_earlier = since.is_some_and(|since| since < self.start);
        let now = self.world.monotonic();
        let rooms = self.typing.lock();
        let Some(entry) = rooms.get(&room) else { return is_earlier.then(Vec::new) };
        let users: Vec<String> =
            entry.users.iter().filter(|(_, until)| **until > now).map(|(user, _)| user.clone()).collect();
        match since {
            Some(since) => (is_earlier || entry.changed > since).then_some(users),
            None => (!users.is_empty()).then_some(users),
        }
    }

    /// Records a receipt. An older one of the same user, kind and thread is replaced; the caller knows that the event exists.
    ///
    /// # Errors
    /// A failing store.
    pub async fn set_receipt(&self, room_id: &str, receipt: &Receipt) -> Result<()> {
        let room = RoomKey::of(room_id);
        let row = receipt_key(room, receipt);
        let snapshot = self.store.snapshot();
        let mut batch = Batch::with_random_id(&self.world);
        batch.class(Class::Logged);
        if let Some(old) = snapshot.get(tables::RECEIPTS, &row)? {
            let mut old = key::Reader::new(&old);
            let (position, tag) = (old.u64()?, old.u16()?);
            batch.delete(
                tables::RECEIPTS_BY_POSITION,
                &key::Writer::new().id16(room.as_bytes()).u64(position).u16(tag).finish(),
            );
        }
        let tag = ordinal_of(receipt);
        let value = key::Writer::new()
            .position_slot()
            .u16(tag)
            .str(&receipt.user_id)
            .str(&receipt.kind)
            .str(receipt.thread.as_deref().unwrap_or(""))
            .str(&receipt.event_id)
            .i64(receipt.ts)
            .finish_positioned();
        let by_position = key::Writer::new().id16(room.as_bytes()).position_slot().u16(tag).finish_positioned();
        batch.put_at_position(tables::RECEIPTS, row, PositionedValue::from(value.clone()));
        batch.put_at_position(tables::RECEIPTS_BY_POSITION, by_position, PositionedValue::from(value));
        batch.topic(topic(room));
        batch.topic(crate::rooms::user_topic(UserKey::of(&receipt.user_id)));
        self.receipts.begin(room);
        let committed = commit_freely(&self.store, batch).await;
        self.receipts.end(room, committed.as_ref().ok().copied());
        committed.map(drop)
    }

    /// Whether receipts may have changed in a room after `since`.
    pub fn receipts_may_have_changed(&self, snapshot: &Snapshot, room: RoomKey, since: Position) -> Result<bool> {
        self.receipts.may_have_changed(snapshot, room, since)
    }

    /// Whether a user has read further in a room after `since`.
    pub fn has_read_since(&self, snapshot: &Snapshot, room: RoomKey, user_id: &str, since: Position) -> Result<bool> {
        let start = room_key(room, &since.saturating_add(1).to_be_bytes());
        for row in snapshot.scan(tables::RECEIPTS_BY_POSITION, start..key::prefix_end(room.as_bytes())) {
            if decode(&row?.1)?.user_id == user_id {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The receipt of a user in a room, of one kind and thread.
    pub fn receipt(
        &self,
        snapshot: &Snapshot,
        room: RoomKey,
        user_id: &str,
        kind: &str,
        thread: Option<&str>,
    ) -> Result<Option<Receipt>> {
        let wanted = Receipt {
            user_id: user_id.to_owned(),
            kind: kind.to_owned(),
            thread: thread.map(str::to_owned),
            event_id: String::new(),
            ts: 0,
        };
        snapshot.get(tables::RECEIPTS, &receipt_key(room, &wanted))?.map(|row| decode(&row)).transpose()
    }

    /// All receipts of a user in a room.
    pub fn receipts_of(&self, snapshot: &Snapshot, room: RoomKey, user_id: &str) -> Result<Vec<Receipt>> {
        snapshot
            .scan_prefix(tables::RECEIPTS, &room_key(room, UserKey::of(user_id).as_bytes()))
            .map(|row| decode(&row?.1))
            .collect()
    }

    /// Contents of `m.receipt` events with what changed after `since` (everything, without one), as `viewer` may see it: the private receipts
    /// are the viewer's own. A content has room for one receipt of a user's for each event and kind; more come in further ones.
    pub fn receipts(
        &self,
        snapshot: &Snapshot,
        room: RoomKey,
        since: Option<Position>,
        viewer: &str,
    ) -> Result<Vec<Value>> {
        let start = room_key(room, &since.map_or(0, |since| since.saturating_add(1)).to_be_bytes());
        let end = key::prefix_end(room.as_bytes());
        let mut contents: Vec<ReceiptContent> = Vec::new();
        for row in snapshot.scan(tables::RECEIPTS_BY_POSITION, start..end) {
            let receipt = decode(&row?.1)?;
            if receipt.kind == "m.read.private" && receipt.user_id != viewer {
                continue;
            }
            let mut data = json!({ "ts": receipt.ts });
            if let Some(thread) = &receipt.thread {
                data["thread_id"] = json!(thread);
            }
            let taken = |content: &ReceiptContent| {
                content
                    .get(&receipt.event_id)
                    .and_then(|kinds| kinds.get(&receipt.kind))
                    .is_some_and(|users| users.contains_key(&receipt.user_id))
            };
            let free = contents.iter().position(|content| !taken(content)).unwrap_or(contents.len());
            if free == contents.len() {
                contents.push(ReceiptContent::new());
            }
            let kinds = contents[free].entry(receipt.event_id).or_default();
            kinds.entry(receipt.kind).or_default().insert(receipt.user_id, data);
        }
        Ok(contents.into_iter().map(|content| json!(content)).collect())
    }
}

fn receipt_key(room: RoomKey, receipt: &Receipt) -> Vec<u8> {
    key::Writer::new()
        .id16(room.as_bytes())
        .id16(UserKey::of(&receipt.user_id).as_bytes())
        .str(&receipt.kind)
        .str(receipt.thread.as_deref().unwrap_or(""))
        .finish()
}

/// Tells receipts of one batch apart.
fn ordinal_of(receipt: &Receipt) -> u16 {
    u16::from(receipt.kind == "m.read.private")
}

fn decode(row: &[u8]) -> Result<Receipt> {
    let mut row = key::Reader::new(row);
    row.u64()?;
    row.u16()?;
    let (user_id, kind, thread) = (row.str()?, row.str()?, row.str()?);
    Ok(Receipt { user_id, kind, thread: (!thread.is_empty()).then_some(thread), event_id: row.str()?, ts: row.i64()? })
}
