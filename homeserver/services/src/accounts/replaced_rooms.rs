//! What users said of a room, said of the room that replaces it: its tags, its push rules, and whether it is a direct chat
//! (client-server API, "Room Upgrades": "the user's personalized settings such as notifications, tags, etc.").

use super::account_data::{self, PUSH_RULES};
use super::tags::TAG;
use super::{MAX_COMMIT_ATTEMPTS, commit};
use crate::{Error, Result};
use serde_json::Value;
use state_res::ids::{RoomKey, UserKey};
use storage::{Batch, Snapshot, Store};

/// The type of the list of a user's direct chats.
const DIRECT: &str = "m.direct";
/// The kinds of push rules by which clients set what one room notifies of.
const RULE_KINDS: [&str; 2] = ["override", "room"];

/// A piece of account data: its room, its type, its content.
type Piece<'a> = (Option<&'a str>, &'static str, Value);

/// Gives the room `to` what the user said of the room `from`. What is said of `to` already stays.
///
/// # Errors
///
/// 413 `M_TOO_LARGE` and 403 `M_FORBIDDEN` where account data has reached its bounds; nothing is changed then.
pub(crate) async fn carry_over(store: &Store, user_id: &str, from: &str, to: &str) -> Result<()> {
    let user = UserKey::of(user_id);
    for _ in 0..MAX_COMMIT_ATTEMPTS {
        let snapshot = store.snapshot();
        let pieces = carried(&snapshot, user, from, to)?;
        if pieces.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::with_random_id(store.world());
        for (room, kind, content) in pieces {
            account_data::put(&mut batch, &snapshot, user, room, kind, content.to_string().as_bytes())?;
        }
        if commit(store, batch).await?.is_some() {
            return Ok(());
        }
    }
    Err(Error::contended())
}

/// The pieces that change.
fn carried<'a>(snapshot: &Snapshot, user: UserKey, from: &str, to: &'a str) -> Result<Vec<Piece<'a>>> {
    let read = |room: Option<&str>, kind| -> Result<Option<Value>> {
        let content = account_data::get(snapshot, user, room.map(RoomKey::of), kind)?;
        Ok(content.and_then(|content| serde_json::from_slice(&content).ok()))
    };
    let mut pieces = Vec::new();
    if let Some(tags) = read(Some(from), TAG)?
        && read(Some(to), TAG)?.is_none()
    {
        pieces.push((Some(to), TAG, tags));
    }
    if let Some(mut rules) = read(None, PUSH_RULES)?
        && add_rules(&mut rules, from, to)
    {
        pieces.push((None, PUSH_RULES, rules));
    }
    if let Some(mut direct) = read(None, DIRECT)?
        && add_direct(&mut direct, from, to)
    {
        pieces.push((None, DIRECT, direct));
    }
    Ok(pieces)
}

/// Puts, before each rule about `from`, the same about `to`. Gives whether there was any.
fn add_rules(content: &mut Value, from: &str, to: &str) -> bool {
    let mut is_changed = false;
    for kind in RULE_KINDS {
        let Some(rules) = content["global"].get_mut(kind).and_then(Value::as_array_mut) else { continue };
        let place = |room: &str| rules.iter().position(|rule| rule["rule_id"] == room);
        let (Some(place), None) = (place(from), place(to)) else { continue };
        let mut rule = rules[place].clone();
        rule["rule_id"] = to.into();
        for condition in rule.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
            if condition["key"] == "room_id" && condition["pattern"] == from {
                condition["pattern"] = to.into();
            }
        }
        rules.insert(place, rule);
        is_changed = true;
    }
    is_changed
}

/// Adds `to` to each list of direct chats that names `from`. Gives whether there was any.
fn add_direct(content: &mut Value, from: &str, to: &str) -> bool {
    let mut is_changed = false;
    let lists = content.as_object_mut().into_iter().flat_map(|lists| lists.values_mut());
    for rooms in lists.filter_map(Value::as_array_mut) {
        if rooms.iter().any(|room| room == from) && !rooms.iter().any(|room| room == to) {
            rooms.push(to.into());
            is_changed = true;
        }
    }
    is_changed
}
