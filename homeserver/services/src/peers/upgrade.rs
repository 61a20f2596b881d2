//! Room upgrades (client-server API, "Room upgrades").

use super::{Peers, transferred};
use crate::accounts::replaced_rooms;
use crate::error::{Error, Result};
use crate::names;
use crate::rooms::RoomReader;
use crate::rooms::create::{CreateRoom, InitialState, Visibility};
use crate::rooms::head::Head;
use crate::rooms::power::Power;
use crate::rooms::send::not_in_room;
use serde_json::{Map, Value, json};
use state_res::auth::{Level, PowerLevel, PowerLevels};
use state_res::ids::{RoomKey, UserKey};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;

/// State that the new room begins with, in the order in which it is set; power levels last, as they may take power away.
const TRANSFERRED: [&str; 9] = [
    "m.room.server_acl",
    "m.room.encryption",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.guest_access",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.room.power_levels",
];
/// Content of `m.room.create` that is about the old room alone.
const NOT_TRANSFERRED: [&str; 4] = ["creator", "room_version", "predecessor", "additional_creators"];
/// What it takes at least to send to, or invite to, a room that has been replaced.
const LEVEL_OF_REPLACED: i64 = 50;
/// The level of whoever makes a room, before version 12: the most that they can set.
const LEVEL_OF_CREATOR: i64 = 100;

impl Peers {
    /// Replaces a room by one of another version, with its state, aliases and place in the directory. Gives the new room's id.
    ///
    /// # Errors
    /// 400 `M_UNSUPPORTED_ROOM_VERSION`, 403 `M_FORBIDDEN` for who may not set `m.room.tombstone`, `M_BAD_JSON` for additional creators
    /// that are no user ids.
    pub async fn upgrade_room(
        &self,
        user_id: &str,
        room_id: &str,
        new_version: &str,
        additional_creators: &[String],
    ) -> Result<String> {
        let version: RoomVersion = new_version.parse().map_err(|_| {
            Error::new(
                400,
                "M_UNSUPPORTED_ROOM_VERSION",
                format!("This server does not support room version {new_version:?}."),
            )
        })?;
        if let Some(wrong) = additional_creators.iter().find(|id| !names::is_user_id(id)) {
            return Err(Error::bad_json(format!("`additional_creators` contains {wrong:?}, which is no user id.")));
        }
        let (reader, head) = self.rooms.known(room_id).map_err(|_| not_in_room(room_id))?;
        if !self.rooms.may_set(room_id, user_id, "m.room.tombstone")? {
            return Err(Error::forbidden(format!(
                "Replacing {room_id} needs the power to set its tombstone, which you do not have."
            )));
        }
        let request = successor(&reader, &head, user_id, room_id, version, additional_creators)?;
        let replacement = self.create_room(user_id, request).await?;

        let tombstone = json!({ "body": "This room has been replaced.", "replacement_room": replacement });
        let Value::Object(tombstone) = tombstone else { return Ok(replacement) };
        self.rooms.set_state(user_id, room_id, "m.room.tombstone", "", tombstone).await?;
        // The room is replaced by now; what fails from here on can be done by hand.
        for (what, done) in [
            ("aliases", self.move_aliases(user_id, room_id, (&replacement, version), &reader, &head).await),
            ("directory entry", self.move_listing(user_id, room_id, &replacement).await),
            ("power levels", self.close(user_id, room_id, &reader, &head).await),
        ] {
            if let Err(error) = done {
                tracing::warn!(room = %room_id, %error, "the {what} of a replaced room could not be seen to");
            }
        }
        self.carry_settings_over(user_id, &replacement).await;
        Ok(replacement)
    }

    /// What the user said of the room that `room_id` replaces, their tags and notifications, holds for `room_id`, too. To fail in this is no
    /// reason not to be in the room.
    pub(super) async fn carry_settings_over(&self, user_id: &str, room_id: &str) {
        let carry = async {
            let Some(predecessor) = self.predecessor(user_id, room_id)? else { return Ok(()) };
            replaced_rooms::carry_over(&self.rooms.deps().store, user_id, &predecessor, room_id).await
        };
        if let Err(error) = carry.await {
            tracing::warn!(room = %room_id, %error, "a user's settings for the room that this one replaces could not be carried over");
        }
    }

    /// The room that `room_id` replaces, if both say so and the user is known there.
    fn predecessor(&self, user_id: &str, room_id: &str) -> Result<Option<String>> {
        let in_state = |room_id: &str, event_type: &str| -> Result<Option<Pdu>> {
            let reader = self.rooms.reader(RoomKey::of(room_id));
            let Some(head) = reader.head()? else { return Ok(None) };
            reader.state_event(head.root, event_type, "")
        };
        let Some(create) = in_state(room_id, "m.room.create")? else { return Ok(None) };
        let predecessor = create.content().get("predecessor").and_then(|predecessor| predecessor.get("room_id"));
        let Some(predecessor) = predecessor.and_then(Value::as_str) else { return Ok(None) };
        let tombstone = in_state(predecessor, "m.room.tombstone")?;
        let is_replaced = tombstone.is_some_and(|tombstone| {
            tombstone.content().get("replacement_room").and_then(Value::as_str) == Some(room_id)
        });
        let is_known = || self.rooms.reader(RoomKey::of(predecessor)).member(UserKey::of(user_id));
        Ok((is_replaced && is_known()?.is_some()).then(|| predecessor.to_owned()))
    }

    async fn move_aliases(
        &self,
        user_id: &str,
        from: &str,
        (to, version): (&str, RoomVersion),
        reader: &RoomReader,
        head: &Head,
    ) -> Result<()> {
        self.rooms.move_aliases(from, to).await?;
        let Some(canonical) = reader.state_event(head.root, "m.room.canonical_alias", "")? else { return Ok(()) };
        let content = transferred::content(canonical.content().clone(), version);
        self.rooms.set_state(user_id, to, "m.room.canonical_alias", "", content).await?;
        self.rooms.set_state(user_id, from, "m.room.canonical_alias", "", Map::new()).await?;
        Ok(())
    }

    async fn move_listing(&self, user_id: &str, from: &str, to: &str) -> Result<()> {
        if self.rooms.is_listed(from)? {
            self.rooms.set_listed(user_id, to, true).await?;
            self.rooms.set_listed(user_id, from, false).await?;
        }
        Ok(())
    }

    /// Keeps ordinary members from sending to, and inviting to, the old room.
    async fn close(&self, user_id: &str, room_id: &str, reader: &RoomReader, head: &Head) -> Result<()> {
        let (create, levels) =
            (required_create(reader, head)?, reader.state_event(head.root, "m.room.power_levels", "")?);
        let Some(levels) = levels else { return Ok(()) };
        let view = PowerLevels::new(&create, Some(&levels));
        let level = |level: Level| view.level(level).unwrap_or_else(|_| level.default());
        let least = LEVEL_OF_REPLACED.max(level(Level::UsersDefault).saturating_add(1));
        let mut content = levels.content().clone();
        for raised in [Level::EventsDefault, Level::Invite] {
            content.insert(raised.property().into(), json!(level(raised).max(least)));
        }
        self.rooms.set_state(user_id, room_id, "m.room.power_levels", "", content).await.map(|_| ())
    }
}

fn required_create(reader: &RoomReader, head: &Head) -> Result<Pdu> {
    let create = reader.state_event(head.root, "m.room.create", "")?;
    create.ok_or_else(|| Error::internal("a room has no create event"))
}

/// The request that makes the new room.
fn successor(
    reader: &RoomReader,
    head: &Head,
    user_id: &str,
    room_id: &str,
    version: RoomVersion,
    additional_creators: &[String],
) -> Result<CreateRoom> {
    let create = required_create(reader, head)?;
    let mut creation_content = transferred::content(create.content().clone(), version);
    creation_content.retain(|name, _| !NOT_TRANSFERRED.contains(&name.as_str()));
    let mut predecessor = json!({ "room_id": room_id });
    let creators_are_infinite = version.rules().create_event_is_room_id;
    if creators_are_infinite {
        if !additional_creators.is_empty() {
            creation_content.insert("additional_creators".into(), json!(additional_creators));
        }
    } else if let Some(last) = head.extremities.first() {
        predecessor["event_id"] = json!(last.event_id);
    }
    creation_content.insert("predecessor".into(), predecessor);
    let mut initial_state = Vec::new();
    for event_type in TRANSFERRED {
        let Some(event) = reader.state_event(head.root, event_type, "")? else { continue };
        let content = if event_type == "m.room.power_levels" {
            let most = (!creators_are_infinite).then_some(LEVEL_OF_CREATOR);
            let mut content = transferred::power_levels(&create, &event, version, most);
            let users = content.entry("users").or_insert_with(|| json!({}));
            if let Some(users) = users.as_object_mut() {
                if creators_are_infinite {
                    users.retain(|user, _| user != user_id && !additional_creators.contains(user));
                } else if Power::at(reader, head.root)?.user(user_id) == PowerLevel::Infinite {
                    // Whoever had power without being listed keeps it.
                    users.insert(user_id.to_owned(), json!(LEVEL_OF_CREATOR));
                }
            }
            content
        } else {
            transferred::content(event.content().clone(), version)
        };
        initial_state.push(InitialState { event_type: event_type.to_owned(), state_key: String::new(), content });
    }
    Ok(CreateRoom {
        visibility: Some(Visibility::Private),
        room_version: Some(version.as_str().to_owned()),
        creation_content,
        initial_state,
        ..CreateRoom::default()
    })
}
