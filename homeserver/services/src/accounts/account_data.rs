//! Client-server API, "Client Config": account data, global and per room.
//!
//! Every piece has a row with its content and a row in an index by position, so that a sync finds what changed since a
//! position by one short scan. The content's row holds no position but a revision: writers name it as a precondition.

use super::{Accounts, MAX_COMMIT_ATTEMPTS, commit};
use crate::{Error, Result, Services, names, rooms::user_topic, tables};
use bytes::Bytes;
use state_res::ids::{RoomKey, UserKey};
use storage::{Batch, Position, Snapshot, Version, key};

/// Bytes of the content of one piece.
pub const MAX_ACCOUNT_DATA_BYTES: usize = 512 * 1024;
/// Bytes of a type.
const MAX_TYPE_BYTES: usize = 255;
/// Pieces of one user.
const MAX_ITEMS: usize = 50_000;
/// In place of a room, where the data is global.
const GLOBAL: [u8; 16] = [0; 16];
/// The type of a user's push rules.
pub const PUSH_RULES: &str = "m.push_rules";
/// The type of the list of users that a user ignores.
pub const IGNORED_USERS: &str = "m.ignored_user_list";
/// Types that the server itself manages.
const MANAGED: [&str; 2] = ["m.fully_read", PUSH_RULES];

/// One piece of account data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The room, unless it is global.
    pub room_id: Option<String>,
    /// Its type.
    pub kind: String,
    /// Its content: a JSON object.
    pub content: Bytes,
}

impl Accounts {
    /// Sets a piece of account data. `content` is a JSON object, already checked to be one.
    ///
    /// # Errors
    ///
    /// 405 `M_BAD_JSON` for types that the server manages, 400 `M_INVALID_PARAM`, 413 `M_TOO_LARGE`.
    pub async fn set_account_data(
        &self,
        user_id: &str,
        room_id: Option<&str>,
        kind: &str,
        content: &[u8],
    ) -> Result<()> {
        if MANAGED.contains(&kind) {
            return Err(Error::new(405, "M_BAD_JSON", format!("{kind} cannot be set through this endpoint.")));
        }
        check(room_id, kind)?;
        let user = UserKey::of(user_id);
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let mut batch = Batch::with_random_id(&self.world);
            put(&mut batch, &self.store.snapshot(), user, room_id, kind, content)?;
            if commit(&self.store, batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::contended())
    }

    /// The content of a piece of account data.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND`, 400 `M_INVALID_PARAM`.
    pub fn account_data(&self, user_id: &str, room_id: Option<&str>, kind: &str) -> Result<Bytes> {
        check(room_id, kind)?;
        let found = get(&self.store.snapshot(), UserKey::of(user_id), room_id.map(RoomKey::of), kind)?;
        found.ok_or_else(|| Error::not_found(format!("You have no account data of type {kind:?} there.")))
    }
}

impl Services {
    /// The content of a piece of a user's global account data. Push rules are there also while they are the defaults.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND`, 400 `M_INVALID_PARAM`.
    pub fn global_account_data(&self, user_id: &str, kind: &str) -> Result<Bytes> {
        if kind == PUSH_RULES {
            return Ok(self.push.content(&self.store.snapshot(), user_id)?.to_string().into());
        }
        self.accounts.account_data(user_id, None, kind)
    }
}

/// The content of a piece of account data; `room` is `None` for global data.
///
/// # Errors
///
/// 500 if the store fails.
pub fn get(snapshot: &Snapshot, user: UserKey, room: Option<RoomKey>, kind: &str) -> Result<Option<Bytes>> {
    let row = snapshot.get(tables::ACCOUNT_DATA, &row_key(user, room, kind))?;
    row.map(|row| parse(&row).map(|(_, _, content)| content)).transpose()
}

/// Where in the log a piece of account data last changed; `None` for one that there is not.
///
/// # Errors
///
/// 500 if the store fails.
pub fn changed_at(snapshot: &Snapshot, user: UserKey, room: Option<RoomKey>, kind: &str) -> Result<Option<Position>> {
    let row = snapshot.get(tables::ACCOUNT_DATA_POSITIONS, &row_key(user, room, kind))?;
    row.map(|row| Ok(key::Reader::new(&row).u64()?)).transpose()
}

/// Adds to `batch` that a piece of account data has this content (a JSON object), based on what `snapshot` shows: if
/// another writer comes first, the batch conflicts. Wakes the user's syncs.
///
/// # Errors
///
/// 413 `M_TOO_LARGE`; 403 `M_FORBIDDEN` if the user has too many pieces.
pub fn put(
    batch: &mut Batch,
    snapshot: &Snapshot,
    user: UserKey,
    room_id: Option<&str>,
    kind: &str,
    content: &[u8],
) -> Result<()> {
    if content.len() > MAX_ACCOUNT_DATA_BYTES {
        return Err(Error::too_large(format!("Account data must not be larger than {MAX_ACCOUNT_DATA_BYTES} bytes.")));
    }
    let room = room_id.map(RoomKey::of);
    let key = row_key(user, room, kind);
    let revision = match snapshot.get(tables::ACCOUNT_DATA, &key)? {
        Some(row) => {
            batch.require_version(tables::ACCOUNT_DATA, &key, Version::of(&row));
            parse(&row)?.0
        }
        None => {
            let rows = snapshot.scan_prefix(tables::ACCOUNT_DATA, user.as_bytes());
            if rows.take(MAX_ITEMS).count() >= MAX_ITEMS {
                return Err(Error::forbidden(format!(
                    "You have {MAX_ITEMS} pieces of account data, which is the most."
                )));
            }
            batch.require_absent(tables::ACCOUNT_DATA, &key);
            0
        }
    };
    let row = key::Writer::new().u64(revision + 1).str(room_id.unwrap_or_default()).tail(content).finish();
    batch.put(tables::ACCOUNT_DATA, &key, &row);
    if let Some(former) = snapshot.get(tables::ACCOUNT_DATA_POSITIONS, &key)? {
        let former = key::Reader::new(&former).u64()?;
        batch.delete(tables::ACCOUNT_DATA_CHANGES, &change_key(user, Some(former), room, kind).finish());
    }
    let position = key::Writer::new().position_slot().finish_positioned();
    batch.put_at_position(tables::ACCOUNT_DATA_POSITIONS, key, position);
    batch.put_at_position(
        tables::ACCOUNT_DATA_CHANGES,
        change_key(user, None, room, kind).finish_positioned(),
        Vec::new(),
    );
    batch.topic(user_topic(user));
    Ok(())
}

/// All account data of a user, global and of rooms.
///
/// # Errors
///
/// 500 if the store fails.
pub fn all(snapshot: &Snapshot, user: UserKey) -> Result<Vec<Item>> {
    of(snapshot, user.as_bytes())
}

/// All account data that a user has for a room.
///
/// # Errors
///
/// 500 if the store fails.
pub fn of_room(snapshot: &Snapshot, user: UserKey, room: RoomKey) -> Result<Vec<Item>> {
    of(snapshot, &key::Writer::new().id16(user.as_bytes()).id16(room.as_bytes()).finish())
}

/// What changed after position `after`, up to and including `until`, in the order of the changes; global and of rooms.
///
/// # Errors
///
/// 500 if the store fails.
pub fn changes(snapshot: &Snapshot, user: UserKey, after: Position, until: Position) -> Result<Vec<Item>> {
    let bound = |position| key::Writer::new().id16(user.as_bytes()).u64(position).finish();
    let start = bound(after.saturating_add(1));
    let end = match until.checked_add(1) {
        Some(end) => bound(end),
        None => key::prefix_end(user.as_bytes()),
    };
    let mut items = Vec::new();
    for row in snapshot.scan(tables::ACCOUNT_DATA_CHANGES, start..end) {
        let (key, _) = row?;
        let mut key = key::Reader::new(&key);
        let (_, _, room, kind) = (key.id16()?, key.u64()?, key.id16()?, key.str()?);
        let content = key::Writer::new().id16(user.as_bytes()).id16(&room).str(&kind).finish();
        if let Some(row) = snapshot.get(tables::ACCOUNT_DATA, &content)? {
            items.push(item(kind, &row)?);
        }
    }
    Ok(items)
}

/// Adds to `batch` the end of up to `most` pieces of a user's account data; `false` when there were no more.
pub(super) fn erase(batch: &mut Batch, snapshot: &Snapshot, user: UserKey, most: usize) -> Result<bool> {
    let mut any = false;
    for row in snapshot.scan_prefix(tables::ACCOUNT_DATA, user.as_bytes()).take(most) {
        let (key, _) = row?;
        batch.delete(tables::ACCOUNT_DATA, &key).delete(tables::ACCOUNT_DATA_POSITIONS, &key);
        any = true;
    }
    batch.delete_range(tables::ACCOUNT_DATA_CHANGES, user.as_bytes(), &key::prefix_end(user.as_bytes()));
    Ok(any)
}

fn of(snapshot: &Snapshot, prefix: &[u8]) -> Result<Vec<Item>> {
    let rows = snapshot.scan_prefix(tables::ACCOUNT_DATA, prefix);
    rows.map(|row| {
        let (key, value) = row?;
        let mut key = key::Reader::new(&key);
        let (_, _, kind) = (key.id16()?, key.id16()?, key.str()?);
        item(kind, &value)
    })
    .collect()
}

fn item(kind: String, row: &Bytes) -> Result<Item> {
    let (_, room_id, content) = parse(row)?;
    Ok(Item { room_id: (!room_id.is_empty()).then_some(room_id), kind, content })
}

/// Revision, room id and content of a row.
fn parse(row: &Bytes) -> Result<(u64, String, Bytes)> {
    let mut reader = key::Reader::new(row);
    let (revision, room_id) = (reader.u64()?, reader.str()?);
    Ok((revision, room_id, row.slice_ref(reader.tail())))
}

fn row_key(user: UserKey, room: Option<RoomKey>, kind: &str) -> Vec<u8> {
    key::Writer::new().id16(user.as_bytes()).id16(&room_or_global(room)).str(kind).finish()
}

/// `None` as the position leaves a slot for the store to fill.
fn change_key(user: UserKey, position: Option<Position>, room: Option<RoomKey>, kind: &str) -> key::Writer {
    let writer = key::Writer::new().id16(user.as_bytes());
    let writer = match position {
        Some(position) => writer.u64(position),
        None => writer.position_slot(),
    };
    writer.id16(&room_or_global(room)).str(kind)
}

fn room_or_global(room: Option<RoomKey>) -> [u8; 16] {
    room.map_or(GLOBAL, |room| *room.as_bytes())
}

fn check(room_id: Option<&str>, kind: &str) -> Result<()> {
    if room_id.is_some_and(|room_id| !names::is_room_id(room_id)) {
        return Err(Error::invalid_param(
            "The room id in the path is none: it starts with ! and has at most 255 bytes.",
        ));
    }
    if kind.is_empty() || kind.len() > MAX_TYPE_BYTES {
        return Err(Error::invalid_param(format!("An account data type has 1 to {MAX_TYPE_BYTES} bytes.")));
    }
    Ok(())
}
