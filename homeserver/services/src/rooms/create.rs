//! `POST /createRoom`: the events of a new room, all in one batch.

use super::{Membership, NewEvent, RoomWriter, Rooms, aliases, directory};
use crate::error::{Error, Result};
use crate::names;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use state_res::build::{self, EventFields};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use std::collections::BTreeSet;

/// The version of rooms for which the client names none.
pub const DEFAULT_ROOM_VERSION: RoomVersion = RoomVersion::V12;
/// The level that it takes to replace a room whose creators stand above all levels.
const TOMBSTONE_OF_CREATORS: i64 = 150;
/// Most users invited by one request.
const MAX_INVITES: usize = 100;
/// How many room ids are tried, each a millisecond later.
const MAX_TRIES: i64 = 100;
/// Most events in `initial_state`.
const MAX_INITIAL_STATE: usize = 200;

/// Body of `POST /createRoom`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct CreateRoom {
    /// Whether the room is listed in the directory.
    pub visibility: Option<Visibility>,
    /// Localpart of an alias to make.
    pub room_alias_name: Option<String>,
    /// `m.room.name`.
    pub name: Option<String>,
    /// `m.room.topic`.
    pub topic: Option<String>,
    /// User ids to invite.
    pub invite: Vec<String>,
    /// Third-party invites; refused, as no identity server is configured.
    pub invite_3pid: Vec<Value>,
    /// Room version.
    pub room_version: Option<String>,
    /// Further content of `m.room.create`.
    pub creation_content: Map<String, Value>,
    /// State events to set.
    pub initial_state: Vec<InitialState>,
    /// Defaults to take.
    pub preset: Option<Preset>,
    /// Marks the invites as direct.
    pub is_direct: bool,
    /// Overrides content of `m.room.power_levels`.
    pub power_level_content_override: Map<String, Value>,
}

/// `visibility` in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Listed.
    Public,
    /// Not listed.
    Private,
}

/// Presets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Invite only.
    PrivateChat,
    /// Open to all.
    PublicChat,
    /// Invite only, invitees as powerful as the creator.
    TrustedPrivateChat,
}

/// An entry of `initial_state`.
#[derive(Debug, Deserialize)]
pub struct InitialState {
    /// `type`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// `state_key`.
    #[serde(default)]
    pub state_key: String,
    /// `content`.
    pub content: Map<String, Value>,
}

/// What a new room came to.
pub struct Created {
    /// Its id.
    pub room_id: String,
    /// Users of other servers who are still to be invited over federation.
    pub remote_invites: Vec<String>,
}

impl Rooms {
    /// Makes a room for `creator` and invites this server's users to it.
    ///
    /// # Errors
    /// 400 `M_UNSUPPORTED_ROOM_VERSION`, `M_ROOM_IN_USE`, `M_INVALID_ROOM_STATE`, `M_INVALID_PARAM`, `M_BAD_JSON`; 403 `M_INVITE_BLOCKED`.
    pub async fn create(&self, creator: &str, request: CreateRoom) -> Result<Created> {
        let version = match &request.room_version {
            None => DEFAULT_ROOM_VERSION,
            Some(name) => name.parse().map_err(|_| {
                Error::new(
                    400,
                    "M_UNSUPPORTED_ROOM_VERSION",
                    format!("This server does not support room version {name:?}."),
                )
            })?,
        };
        self.check(&request)?;
        let preset = request.preset.unwrap_or(match request.visibility {
            Some(Visibility::Public) => Preset::PublicChat,
            _ => Preset::PrivateChat,
        });
        let content = create_content(creator, version, preset, &request)?;
        let now = self.deps().world.now().millis() as i64;
        for timestamp in now..now + MAX_TRIES {
            let random_id = format!("!{}:{}", random_localpart(self), self.deps().server_name);
            let create = self.create_event(version, creator, &random_id, content.clone(), timestamp)?;
            let room_id = create.room_id().to_owned();
            let made = self
                .write_new(&room_id, version, |writer| {
                    if writer.head.version > 0 {
                        return Ok(false);
                    }
                    fill(self, writer, &create, creator, preset, &request).map(|()| true)
                })
                .await?
                .0;
            if made {
                let remote_invites = request.invite.iter().filter(|user| !self.is_local(user)).cloned().collect();
                return Ok(Created { room_id, remote_invites });
            }
            // From version 12 on the id is the hash of the create event, which the same user may have made in this millisecond.
        }
        Err(Error::internal("no unused room id was found"))
    }

    fn check(&self, request: &CreateRoom) -> Result<()> {
        if request.invite.len() > MAX_INVITES {
            return Err(Error::invalid_param(format!("`invite` names more than {MAX_INVITES} users.")));
        }
        if request.initial_state.len() > MAX_INITIAL_STATE {
            return Err(Error::invalid_param(format!("`initial_state` has more than {MAX_INITIAL_STATE} events.")));
        }
        if let Some(user) = request.invite.iter().find(|user| !names::is_user_id(user)) {
            return Err(Error::invalid_param(format!("`invite` contains {user:?}, which is no user id.")));
        }
        if !request.invite_3pid.is_empty() {
            return Err(Error::new(
                400,
                "M_SERVER_NOT_TRUSTED",
                "`invite_3pid` needs an identity server, and this server trusts none.",
            ));
        }
        if let Some(name) = &request.room_alias_name {
            aliases::check_localpart(name, &self.deps().server_name)?;
        }
        Ok(())
    }

    fn create_event(
        &self,
        version: RoomVersion,
        creator: &str,
        room_id: &str,
        content: Map<String, Value>,
        timestamp: i64,
    ) -> Result<Pdu> {
        let fields = EventFields {
            event_type: "m.room.create".to_owned(),
            state_key: Some(String::new()),
            sender: creator.to_owned(),
            room_id: room_id.to_owned(),
            content,
            depth: 1,
            origin_server_ts: timestamp,
            ..EventFields::default()
        };
        build::build(version, fields, &self.deps().server_name, &self.deps().signing_key())
            .map_err(super::writer::pdu_error)
    }

    /// Whether a user id is of this server.
    #[must_use]
    pub fn is_local(&self, user_id: &str) -> bool {
        names::server_of(user_id) == Some(self.deps().server_name.as_str())
    }
}

/// Content of `m.room.create`.
fn create_content(
    creator: &str,
    version: RoomVersion,
    preset: Preset,
    request: &CreateRoom,
) -> Result<Map<String, Value>> {
    let mut content = request.creation_content.clone();
    content.insert("room_version".into(), json!(version.as_str()));
    content.remove("creator");
    if version < RoomVersion::V11 {
        content.insert("creator".into(), json!(creator));
    }
    if version.rules().create_event_is_room_id {
        let mut creators: BTreeSet<String> = BTreeSet::new();
        if let Some(given) = content.get("additional_creators") {
            let list = given
                .as_array()
                .ok_or_else(|| Error::bad_json("`creation_content.additional_creators` must be a list of user ids."))?;
            for one in list {
                let id = one.as_str().filter(|id| names::is_user_id(id)).ok_or_else(|| {
                    Error::bad_json(format!(
                        "`creation_content.additional_creators` contains {one}, which is no user id."
                    ))
                })?;
                creators.insert(id.to_owned());
            }
        }
        if preset == Preset::TrustedPrivateChat {
            creators.extend(request.invite.iter().cloned());
        }
        creators.remove(creator);
        if !creators.is_empty() {
            content.insert("additional_creators".into(), json!(creators));
        }
    }
    Ok(content)
}

/// Content of the first `m.room.power_levels`.
fn power_levels(creator: &str, version: RoomVersion, preset: Preset, request: &CreateRoom) -> Map<String, Value> {
    let creators_are_infinite = version.rules().create_event_is_room_id;
    let mut users = Map::new();
    if !creators_are_infinite {
        users.insert(creator.to_owned(), json!(100));
        if preset == Preset::TrustedPrivateChat {
            for user in &request.invite {
                users.insert(user.clone(), json!(100));
            }
        }
    }
    let content = json!({
        "users": users,
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.history_visibility": 100,
            "m.room.power_levels": 100,
            "m.room.encryption": 100,
            "m.room.server_acl": 100,
            "m.room.tombstone": if creators_are_infinite { TOMBSTONE_OF_CREATORS } else { 100 },
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": if preset == Preset::PublicChat { 50 } else { 0 },
    });
    let Value::Object(mut content) = content else { return Map::new() };
    for (key, value) in &request.power_level_content_override {
        content.insert(key.clone(), value.clone());
    }
    // In these versions it "MUST explicitly be higher than `state_default`", also where other levels are overridden.
    let above = content
        .get("state_default")
        .and_then(Value::as_i64)
        .map_or(TOMBSTONE_OF_CREATORS, |default| TOMBSTONE_OF_CREATORS.max(default.saturating_add(1)));
    let events = request.power_level_content_override.get("events");
    let is_given = events.is_some_and(|events| events.get("m.room.tombstone").is_some());
    if creators_are_infinite
        && !is_given
        && let Some(Value::Object(events)) = content.get_mut("events")
    {
        events.insert("m.room.tombstone".into(), json!(above));
    }
    content
}

fn preset_state(preset: Preset) -> [(&'static str, Value); 3] {
    let (join_rule, guests) = match preset {
        Preset::PublicChat => ("public", "forbidden"),
        Preset::PrivateChat | Preset::TrustedPrivateChat => ("invite", "can_join"),
    };
    [
        ("m.room.join_rules", json!({ "join_rule": join_rule })),
        ("m.room.history_visibility", json!({ "history_visibility": "shared" })),
        ("m.room.guest_access", json!({ "guest_access": guests })),
    ]
}

/// Adds all events of the new room, in the specification's order.
fn fill(
    rooms: &Rooms,
    writer: &mut RoomWriter<'_>,
    create: &Pdu,
    creator: &str,
    preset: Preset,
    request: &CreateRoom,
) -> Result<()> {
    let version = writer.head.room_version;
    state_res::auth::check(create, &Vec::new()).map_err(invalid_state)?;
    writer.place(create.clone(), state_res::tree::Root::EMPTY, super::standing::Fate::Accepted, true)?;
    let set = |writer: &mut RoomWriter<'_>, kind: &str, key: &str, content: Value| -> Result<()> {
        let Value::Object(content) = content else { return Ok(()) };
        writer.send(NewEvent::state(creator, kind, key, content)).map(|_| ()).map_err(|error| {
            if error.errcode == "M_FORBIDDEN" { Error::new(400, "M_INVALID_ROOM_STATE", error.message) } else { error }
        })
    };
    let member = rooms.member_content(creator, Membership::Join)?;
    set(writer, "m.room.member", creator, Value::Object(member))?;
    set(writer, "m.room.power_levels", "", Value::Object(power_levels(creator, version, preset, request)))?;
    if let Some(localpart) = &request.room_alias_name {
        let alias = format!("#{localpart}:{}", rooms.deps().server_name);
        aliases::add(writer, &alias, creator)?;
        set(writer, "m.room.canonical_alias", "", json!({ "alias": alias }))?;
    }
    let given = |kind: &str| request.initial_state.iter().any(|one| one.event_type == kind && one.state_key.is_empty());
    for (kind, content) in preset_state(preset) {
        if !given(kind) {
            set(writer, kind, "", content)?;
        }
    }
    for one in &request.initial_state {
        let overridden = one.state_key.is_empty()
            && ((one.event_type == "m.room.name" && request.name.is_some())
                || (one.event_type == "m.room.topic" && request.topic.is_some()));
        if !overridden {
            set(writer, &one.event_type, &one.state_key, Value::Object(one.content.clone()))?;
        }
    }
    if let Some(name) = &request.name {
        set(writer, "m.room.name", "", json!({ "name": name }))?;
    }
    if let Some(topic) = &request.topic {
        let content = json!({
            "topic": topic,
            "m.topic": { "m.text": [{ "body": topic, "mimetype": "text/plain" }] },
        });
        set(writer, "m.room.topic", "", content)?;
    }
    for user in request.invite.iter().filter(|user| rooms.is_local(user)) {
        let mut content = rooms.member_content(user, Membership::Invite)?;
        if request.is_direct {
            content.insert("is_direct".into(), json!(true));
        }
        set(writer, "m.room.member", user, Value::Object(content))?;
    }
    if request.visibility == Some(Visibility::Public) {
        directory::publish(writer);
    }
    Ok(())
}

fn invalid_state(refusal: state_res::auth::Refusal) -> Error {
    Error::new(400, "M_INVALID_ROOM_STATE", format!("{} (authorisation rule {})", refusal.because, refusal.rule))
}

fn random_localpart(rooms: &Rooms) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let bytes: [u8; 18] = rooms.deps().world.random_bytes();
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}
