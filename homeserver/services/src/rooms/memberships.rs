//! The rooms of each local user: joined, invited, knocked, left.

use super::reader::{Membership, RoomReader, room_key};
use super::writer::put_with_position;
use crate::error::{Error, Result};
use crate::names;
use crate::tables;
use serde_json::Value;
use state_res::ids::{EventKey, RoomKey, UserKey};
use state_res::room_version::RoomVersion;
use storage::{Batch, Position, Snapshot, key};

/// Longest chain of a user's own member events that is followed back to find when they joined.
const MAX_MEMBER_EVENTS: usize = 200;

/// A change of a local user's membership, to be written.
pub struct Change<'a> {
    /// Whose.
    pub user: UserKey,
    /// In which room.
    pub room: RoomKey,
    /// Its id.
    pub room_id: &'a str,
    /// What it is now.
    pub membership: Membership,
    /// What it was.
    pub previous: Option<Membership>,
    /// The event that says so, where it is stored.
    pub event: Option<EventKey>,
    /// Its ordinal in the batch.
    pub ordinal: u16,
}

/// A row of table `MEMBERSHIPS`.
#[derive(Debug, Clone)]
pub struct UserRoom {
    /// The room.
    pub room: RoomKey,
    /// Its id.
    pub room_id: String,
    /// The user's membership.
    pub membership: Membership,
    /// What it was before.
    pub previous: Option<Membership>,
    /// Since when.
    pub position: Position,
    /// Ordinal within that position.
    pub ordinal: u16,
    /// The event that says so; `None` for invites and knocks to rooms of which we hold no state.
    pub event: Option<EventKey>,
    /// `invite_room_state` or `knock_room_state` (JSON array) of a room of which we hold no state.
    pub stripped: Option<String>,
    /// The version of a room of which we hold no state, where it is known.
    pub room_version: Option<RoomVersion>,
    /// The server that took the user's knock on such a room.
    pub via: Option<String>,
}

/// What is known of a room whose state we do not hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outside<'a> {
    /// JSON array of stripped state that contains the member event itself, as its last element and with its `event_id`.
    pub stripped: &'a str,
    /// The room's version.
    pub version: Option<RoomVersion>,
    /// The server that took the user's knock.
    pub via: Option<&'a str>,
}

impl UserRoom {
    /// Servers that are probably in a room of which we hold no state, likely ones first: the one that took the user's knock, that of whoever
    /// invited them, and those of whoever set the state that they are shown.
    #[must_use]
    pub fn likely_servers(&self, user_id: &str) -> Vec<String> {
        let mut servers: Vec<String> = self.via.iter().cloned().collect();
        let shown: Vec<Value> =
            self.stripped.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let of_sender =
            |event: &Value| event.get("sender").and_then(Value::as_str).and_then(names::server_of).map(str::to_owned);
        servers.extend(self.stripped_member(user_id).as_ref().and_then(of_sender));
        servers.extend(shown.iter().filter_map(of_sender));
        servers
    }

    /// The user's own member event in [`Self::stripped`], with its `event_id`.
    #[must_use]
    pub fn stripped_member(&self, user_id: &str) -> Option<Value> {
        let stripped: Vec<Value> = serde_json::from_str(self.stripped.as_deref()?).ok()?;
        let own = |event: &Value| {
            event.get("type").and_then(Value::as_str) == Some("m.room.member")
                && event.get("state_key").and_then(Value::as_str) == Some(user_id)
        };
        // The last: what comes from elsewhere stands before what we added.
        stripped.into_iter().rev().find(own)
    }
}

impl UserRoom {
    /// Who invited the user, `user_id`, whose row this is; `None` unless they are invited.
    pub fn inviter(&self, reader: &RoomReader, user_id: &str) -> Result<Option<String>> {
        if self.membership != Membership::Invite {
            return Ok(None);
        }
        match self.event {
            None => Ok(self.stripped_member(user_id).and_then(|event| event["sender"].as_str().map(str::to_owned))),
            Some(event) => Ok(Some(reader.required_stored(event)?.sender())),
        }
    }
}

/// Writes the row of a room whose state we hold.
pub fn write(batch: &mut Batch, change: &Change<'_>) {
    write_remote(batch, change, &Outside::default());
}

/// Writes the row of an invite or knock to a room whose state we do not hold.
pub fn write_remote(batch: &mut Batch, change: &Change<'_>, outside: &Outside<'_>) {
    let mut value = vec![change.membership as u8, change.previous.map_or(0, |previous| previous as u8)];
    value.extend_from_slice(&[0; 8]);
    value.extend_from_slice(&change.ordinal.to_be_bytes());
    value.extend_from_slice(change.event.map_or([0; 16], |event| *event.as_bytes()).as_slice());
    let texts = key::Writer::new().str(change.room_id).str(outside.stripped);
    let texts = texts.str(outside.version.map_or("", |version| version.as_str()));
    value.extend_from_slice(&texts.str(outside.via.unwrap_or_default()).finish());
    let key = key::Writer::new().id16(change.user.as_bytes()).id16(change.room.as_bytes());
    put_with_position(batch, tables::MEMBERSHIPS, key, value, Some(2));
    // "Rooms which have been forgotten will never appear [...] until the user re-joins, is re-invited, or knocks".
    let away = |membership| matches!(membership, None | Some(Membership::Leave | Membership::Ban));
    if !(away(Some(change.membership)) && away(change.previous)) {
        batch.delete(tables::FORGOTTEN, &room_key_of(change.user, change.room));
    }
}

fn decode(room: RoomKey, bytes: &[u8]) -> Option<UserRoom> {
    let event: [u8; 16] = bytes.get(12..28)?.try_into().ok()?;
    let mut rest = key::Reader::new(bytes.get(28..)?);
    let room_id = rest.str().ok()?.to_string();
    let stripped = rest.str().ok()?.to_string();
    let room_version = rest.str().ok().and_then(|version| version.parse().ok());
    // Rows of earlier versions end before it.
    let via = rest.str().ok().map(|via| via.to_string()).filter(|via| !via.is_empty());
    Some(UserRoom {
        room,
        room_id,
        membership: Membership::from_byte(*bytes.first()?)?,
        previous: Membership::from_byte(*bytes.get(1)?),
        position: u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?),
        ordinal: u16::from_be_bytes(bytes.get(10..12)?.try_into().ok()?),
        event: (event != [0; 16]).then(|| EventKey::from_bytes(event)),
        stripped: (!stripped.is_empty()).then_some(stripped),
        room_version,
        via,
    })
}

fn damaged() -> Error {
    Error::internal("a row of table MEMBERSHIPS cannot be read: the data directory is damaged")
}

/// All rooms of a local user, left ones included.
pub fn of_user(snapshot: &Snapshot, user: UserKey) -> Result<Vec<UserRoom>> {
    snapshot
        .scan_prefix(tables::MEMBERSHIPS, user.as_bytes())
        .map(|row| {
            let (key, value) = row?;
            let room: [u8; 16] = key.get(16..32).and_then(|room| room.try_into().ok()).ok_or_else(damaged)?;
            decode(RoomKey::from_bytes(room), &value).ok_or_else(damaged)
        })
        .collect()
}

/// One room of a local user.
pub fn of_user_in(snapshot: &Snapshot, user: UserKey, room: RoomKey) -> Result<Option<UserRoom>> {
    let mut key = user.as_bytes().to_vec();
    key.extend_from_slice(room.as_bytes());
    match snapshot.get(tables::MEMBERSHIPS, &key)? {
        None => Ok(None),
        Some(value) => decode(room, &value).map(Some).ok_or_else(damaged),
    }
}

/// Where and when a user joined.
#[derive(Debug, Clone, Copy)]
pub struct Joined {
    /// The position of the event.
    pub position: Position,
    /// Its ordinal there.
    pub ordinal: u16,
    /// What it says of its time, in milliseconds.
    pub ts: i64,
}

/// Where the user whose latest member event is `event` last became joined, whatever they changed in it since; `None` for who never did.
pub fn last_join(reader: &RoomReader, mut event: EventKey) -> Result<Option<Joined>> {
    let mut joined = None;
    for _ in 0..MAX_MEMBER_EVENTS {
        let (Some(standing), Some(pdu)) = (reader.standing(event)?, reader.pdu(event)?) else { break };
        match (Membership::of(&pdu), joined) {
            (Membership::Join, _) => {
                let (position, ordinal) = (standing.position, standing.ordinal);
                joined = Some(Joined { position, ordinal, ts: pdu.origin_server_ts() });
            }
            (_, Some(_)) => break,
            (_, None) => {}
        }
        let Some(user_id) = pdu.state_key() else { break };
        match reader.state_event_key(standing.before, "m.room.member", user_id)? {
            Some(previous) if previous != event => event = previous,
            _ => break,
        }
    }
    Ok(joined)
}

/// Whether a user has forgotten a room since leaving it.
pub fn is_forgotten(snapshot: &Snapshot, user: UserKey, room: RoomKey) -> Result<bool> {
    Ok(snapshot.get(tables::FORGOTTEN, &room_key_of(user, room))?.is_some())
}

pub(super) fn room_key_of(user: UserKey, room: RoomKey) -> Vec<u8> {
    room_key(RoomKey::from_bytes(*user.as_bytes()), room.as_bytes())
}
