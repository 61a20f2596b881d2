//! What clients read of a room's state: all of it, single events, members.

use super::Peers;
use crate::error::{Error, Result};
use crate::names;
use crate::rooms::head::Head;
use crate::rooms::timeline::Boundary;
use crate::rooms::visibility::{HistoryVisibility, Viewer};
use crate::rooms::{Membership, RoomReader};
use serde_json::{Map, Value, json};
use state_res::ids::{RoomKey, UserKey};
use state_res::tree::Root;

impl Peers {
    /// A room as a user may look at it, and the state they may look at: the current one while they are joined, that at the end of their
    /// membership after it, the current one of a world-readable room for everyone.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`.
    pub fn look(&self, user_id: &str, room_id: &str) -> Result<(RoomReader, Head, Root)> {
        let reader = self.rooms.reader(RoomKey::of(room_id));
        let denied = || crate::rooms::send::not_in_room(room_id);
        let head = reader.head()?.ok_or_else(denied)?;
        let member = reader.member(UserKey::of(user_id))?;
        if member.is_some_and(|member| member.membership == Membership::Join) {
            let root = head.root;
            return Ok((reader, head, root));
        }
        // Of what came after the end, an invite or a ban perhaps, they see nothing.
        if let Some(root) = Viewer::new(&reader, user_id)?.ended().map(|end| end.root) {
            return Ok((reader, head, root));
        }
        if HistoryVisibility::at(&reader, head.root)? == HistoryVisibility::WorldReadable {
            let root = head.root;
            return Ok((reader, head, root));
        }
        Err(denied())
    }

    /// `GET /rooms/{roomId}/state`: JSON text of an array.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`.
    pub fn state(&self, user_id: &str, device_id: &str, room_id: &str) -> Result<String> {
        let (reader, _, root) = self.look(user_id, room_id)?;
        let viewer = Viewer::new(&reader, user_id)?;
        let mut events = Vec::new();
        for key in reader.state(root)? {
            events.push(reader.required_stored(key)?);
        }
        self.view(&reader, &viewer, user_id, device_id, room_id).json_array(&events)
    }

    /// `GET /rooms/{roomId}/state/{eventType}/{stateKey}`: the content, or with `whole` the event; JSON text.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`, 404 `M_NOT_FOUND`.
    pub fn state_event(
        &self,
        user_id: &str,
        device_id: &str,
        room_id: &str,
        event_type: &str,
        state_key: &str,
        whole: bool,
    ) -> Result<String> {
        let (reader, _, root) = self.look(user_id, room_id)?;
        let key = reader.state_event_key(root, event_type, state_key)?.ok_or_else(|| {
            Error::not_found(format!("The room has no state of type {event_type:?} with state key {state_key:?}."))
        })?;
        let event = reader.required_stored(key)?;
        let viewer = Viewer::new(&reader, user_id)?;
        let view = self.view(&reader, &viewer, user_id, device_id, room_id);
        if whole {
            return view.json(&event);
        }
        Ok(view.shown(&event, || reader.standing(key))?.content_json().to_owned())
    }

    /// `GET /rooms/{roomId}/members`: JSON text. `at` is a token; members pass that are `membership` or are
    /// not `not_membership`, all without either.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`, 400 `M_INVALID_PARAM`.
    pub fn members(
        &self,
        user_id: &str,
        device_id: &str,
        room_id: &str,
        at: Option<&str>,
        membership: Option<&str>,
        not_membership: Option<&str>,
    ) -> Result<String> {
        for (name, value) in [("membership", membership), ("not_membership", not_membership)] {
            if value.is_some_and(|value| Membership::parse(value).is_none()) {
                return Err(Error::invalid_param(format!("`{name}` must be one of join, invite, leave, ban, knock.")));
            }
        }
        let (reader, _, mut root) = self.look(user_id, room_id)?;
        let viewer = Viewer::new(&reader, user_id)?;
        if let Some(Boundary(bytes)) = self.boundary(at, "at")?
            && viewer.is_joined()
            && let Some(position) = bytes.get(..8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes)
        {
            root = reader.root_at(position.saturating_sub(u64::from(bytes.len() == 8)))?;
        }
        let mut events = Vec::new();
        for key in reader.state_of_type(root, "m.room.member")? {
            let event = reader.required_stored(key)?;
            let content = event.content();
            let is = content.get("membership").and_then(Value::as_str);
            // Given both, either is enough.
            let is_wanted = match (membership, not_membership) {
                (None, None) => true,
                (wanted, not) => {
                    wanted.is_some_and(|wanted| is == Some(wanted)) || not.is_some_and(|not| is != Some(not))
                }
            };
            if is_wanted {
                events.push(event);
            }
        }
        let chunk = self.view(&reader, &viewer, user_id, device_id, room_id).json_array(&events)?;
        Ok(format!("{{\"chunk\":{chunk}}}"))
    }

    /// `GET /rooms/{roomId}/joined_members`.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` for who is not joined.
    pub fn joined_members(&self, user_id: &str, room_id: &str) -> Result<Value> {
        let (reader, _, root) = self.look(user_id, room_id)?;
        if reader.membership_in(root, user_id)? != Some(Membership::Join) {
            return Err(crate::rooms::send::not_in_room(room_id));
        }
        let mut joined = Map::new();
        for key in reader.state_of_type(root, "m.room.member")? {
            let event = reader.required_stored(key)?;
            let content = event.content();
            if content.get("membership").and_then(Value::as_str) != Some("join") {
                continue;
            }
            let mut member = Map::new();
            for (from, name) in [("displayname", "display_name"), ("avatar_url", "avatar_url")] {
                let text = content.get(from).and_then(Value::as_str);
                if let Some(text) = text.filter(|text| from != "avatar_url" || names::is_mxc_uri(text)) {
                    member.insert(name.into(), text.into());
                }
            }
            joined.insert(event.state_key().unwrap_or_default(), Value::Object(member));
        }
        Ok(json!({ "joined": joined }))
    }

    /// `GET /joined_rooms`.
    pub fn joined_rooms(&self, user_id: &str) -> Result<Vec<String>> {
        let deps = self.rooms.deps();
        let epoch = deps.user_rooms.epoch();
        let rooms = deps.user_rooms.of(&deps.store.snapshot(), epoch, UserKey::of(user_id))?;
        Ok(rooms.iter().filter(|room| room.membership == Membership::Join).map(|room| room.room_id.clone()).collect())
    }

    /// `GET /rooms/{roomId}/aliases`.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`.
    pub fn room_aliases(&self, user_id: &str, room_id: &str) -> Result<Vec<String>> {
        self.look(user_id, room_id)?;
        self.rooms.local_aliases(room_id)
    }
}
