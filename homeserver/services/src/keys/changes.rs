//! Whose device lists a user has to ask for again, and whose they can forget (client-server API, "Tracking the device list
//! for a user").

use crate::error::Result;
use crate::rooms::memberships::UserRoom;
use crate::rooms::{Membership, RoomReader, Rooms};
use crate::sync::{DeviceListChanges, Looking};
use crate::tables;
use state_res::ids::{EventKey, RoomKey, StateKeyId, UserKey};
use state_res::tree;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use storage::{Position, Snapshot, Topic, key};

/// From this many changed users on, members are read room by room instead of user by user.
const MANY: usize = 64;
/// Events read through this number are not put into the caches: it is no number of redactions.
const UNCACHED: u64 = u64::MAX;

/// What touches table DEVICE_LIST_CHANGES names this topic.
pub(super) fn topic() -> Topic {
    static TOPIC: LazyLock<Topic> = LazyLock::new(|| Topic::of("device lists", &[]));
    *TOPIC
}

/// Users whose device list changed after `since` and up to `until` or who share a room with the user only since then, and users
/// who share none any more. Who is in a room, and so who shares one, is that of the snapshot, which may be later than `until`.
pub(super) fn device_lists(
    rooms: &Rooms,
    snapshot: &Snapshot,
    user_id: &str,
    since: Position,
    until: Position,
    looking: &Looking<'_>,
) -> Result<DeviceListChanges> {
    let own = UserKey::of(user_id);
    let mine = rooms.deps().user_rooms.peek(snapshot, own)?;
    let mine: Vec<&UserRoom> = mine.iter().filter(|row| !looking.without.contains_key(&row.room)).collect();
    let joined: Vec<&UserRoom> = mine.iter().copied().filter(|row| row.membership == Membership::Join).collect();
    let mut unreadable = BTreeSet::new();

    let mut changed = BTreeSet::new();
    if rooms.deps().store.untouched_since(topic()) > since {
        let updated = updated(snapshot, user_id, since, until, &mut changed)?;
        changed.extend(sharing(rooms, snapshot, &joined, updated, &mut unreadable)?);
    }

    let mut gone = BTreeSet::new();
    for row in mine {
        let late = looking.since.get(&row.room).copied();
        let seen = late.unwrap_or(since);
        let (mut came, mut went) = (BTreeSet::new(), BTreeSet::new());
        let look = || look_at_room(rooms, snapshot, row, seen, until, user_id, &mut came, &mut went);
        if attempt(rooms, row, look)?.is_none() {
            unreadable.insert(row.room);
            continue;
        }
        if late.is_some() && row.membership == Membership::Join {
            // Of those who share only this room, nothing was told while it could not be looked at.
            let updated = updated(snapshot, user_id, seen, until, &mut came)?;
            came.extend(sharing(rooms, snapshot, &[row], updated, &mut unreadable)?);
        }
        changed.extend(came);
        gone.extend(went);
    }
    let gone: BTreeSet<String> = gone.into_iter().filter(|user| !changed.contains(user)).collect();
    let still = if gone.is_empty() {
        BTreeSet::new()
    } else {
        sharing(rooms, snapshot, &joined, gone.clone(), &mut unreadable)?
    };
    // Whoever went may share a room that cannot be read; to keep a list for too long does no harm.
    let left = if unreadable.is_empty() && looking.without.is_empty() {
        gone.into_iter().filter(|user| !still.contains(user)).collect()
    } else {
        Vec::new()
    };
    Ok(DeviceListChanges { changed: changed.into_iter().collect(), left, unreadable })
}

fn attempt<R>(rooms: &Rooms, row: &UserRoom, work: impl FnOnce() -> Result<R>) -> Result<Option<R>> {
    rooms.deps().unreadable.attempt(&rooms.deps().world, row, work)
}

/// Users whose lists changed. Those about whom only this user is told, and the user, go to `certain` at once.
fn updated(
    snapshot: &Snapshot,
    user_id: &str,
    since: Position,
    until: Position,
    certain: &mut BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    let start = since.saturating_add(1).to_be_bytes().to_vec();
    let mut updated = BTreeSet::new();
    // A row stands at the last change, which may be later than `until`, and names the one before.
    for row in snapshot.scan(tables::DEVICE_LIST_CHANGES, start..Vec::new()) {
        let (row, value) = row?;
        let at = key::Reader::new(&row).u64()?;
        let mut value = key::Reader::new(&value);
        let (user, observer) = (value.str()?, value.str()?);
        // Where that one is later too, nobody knows any more: better once too often than once too little.
        if at > until && value.u64().is_ok_and(|former| former <= since) {
            continue;
        }
        if user == user_id || observer == user_id {
            certain.insert(user);
        } else if observer.is_empty() {
            updated.insert(user);
        }
    }
    Ok(updated)
}

/// Those of `users` who are joined to one of these rooms now, as far as the rooms can be read.
fn sharing(
    rooms: &Rooms,
    snapshot: &Snapshot,
    joined: &[&UserRoom],
    users: BTreeSet<String>,
    unreadable: &mut BTreeSet<RoomKey>,
) -> Result<BTreeSet<String>> {
    let mut sharing = BTreeSet::new();
    if users.len() >= MANY {
        for row in joined {
            let Some(members) = attempt(rooms, row, || reader(rooms, snapshot, row.room).members())? else {
                unreadable.insert(row.room);
                continue;
            };
            for member in members {
                if member.membership == Membership::Join && users.contains(&member.user_id) {
                    sharing.insert(member.user_id);
                }
            }
        }
        return Ok(sharing);
    }
    for user_id in users {
        for row in joined {
            match attempt(rooms, row, || shares_one(rooms, snapshot, &[row.room], &user_id))? {
                Some(false) => {}
                Some(true) => {
                    sharing.insert(user_id);
                    break;
                }
                None => _ = unreadable.insert(row.room),
            }
        }
    }
    Ok(sharing)
}

pub(super) fn shares_one(rooms: &Rooms, snapshot: &Snapshot, joined: &[RoomKey], user_id: &str) -> Result<bool> {
    let user = UserKey::of(user_id);
    for room in joined {
        let member = reader(rooms, snapshot, *room).member(user)?;
        if member.is_some_and(|member| member.membership == Membership::Join) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Joins and leaves in one of the user's rooms.
#[allow(clippy::too_many_arguments)]
fn look_at_room(
    rooms: &Rooms,
    snapshot: &Snapshot,
    row: &UserRoom,
    since: Position,
    until: Position,
    user_id: &str,
    came: &mut BTreeSet<String>,
    went: &mut BTreeSet<String>,
) -> Result<()> {
    let is_joined = row.membership == Membership::Join;
    let is_news = row.position > since;
    if !is_joined && !is_news {
        return Ok(());
    }
    if !is_news && !rooms.deps().caches.activity.may_have_changed(snapshot, row.room, since)? {
        return Ok(());
    }
    let reader = reader(rooms, snapshot, row.room);
    let before = reader.root_at(since)?;
    let was_joined = !is_news || reader.membership_in(before, user_id)? == Some(Membership::Join);
    let now_joined = |came: &mut BTreeSet<String>| -> Result<()> {
        let members = reader.members()?.into_iter().filter(|member| member.membership == Membership::Join);
        came.extend(members.map(|member| member.user_id).filter(|member| member != user_id));
        Ok(())
    };
    match (was_joined, is_joined) {
        (false, false) => return Ok(()),
        (false, true) => return now_joined(came),
        // Those who are in it still, and below those who went in the meantime.
        (true, false) => now_joined(went)?,
        (true, true) => {}
    }
    let after = reader.root_at(until)?;
    if before == after {
        return Ok(());
    }
    let members = StateKeyId::type_prefix("m.room.member");
    for change in tree::diff(&reader, before, after)? {
        if !change.key.as_bytes().starts_with(&members) {
            continue;
        }
        let left = member(&reader, change.left)?;
        let right = member(&reader, change.right)?;
        match (left, right) {
            (Some(user), None) if user != user_id => went.insert(user),
            (None, Some(user)) if is_joined && user != user_id => came.insert(user),
            _ => false,
        };
    }
    Ok(())
}

/// The user whose join this event is; `None` if it is no join.
fn member(reader: &RoomReader, event: Option<EventKey>) -> Result<Option<String>> {
    let Some(event) = event else { return Ok(None) };
    let pdu = reader.required(event)?;
    let joined = Membership::of(&pdu) == Membership::Join;
    Ok(pdu.state_key().filter(|_| joined).map(str::to_owned))
}

fn reader(rooms: &Rooms, snapshot: &Snapshot, room: RoomKey) -> RoomReader {
    rooms.reader_at(snapshot.clone(), UNCACHED, room)
}
