//! Memberships of our users, whether we hold the room or have to ask another server.

use super::{Peers, remote_error};
use crate::error::{Error, Result};
use crate::names;
use crate::rooms::Membership;
use crate::rooms::membership::LocalJoin;
use crate::rooms::memberships;
use serde_json::{Map, Value, json};
use state_res::ids::{RoomKey, UserKey};

impl Peers {
    /// The room that an id or alias names, and servers that may know it.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` for text that is neither, 404 `M_NOT_FOUND` for an alias that leads nowhere.
    pub async fn find_room(&self, id_or_alias: &str) -> Result<(String, Vec<String>)> {
        if names::is_room_id(id_or_alias) {
            return Ok((id_or_alias.to_owned(), Vec::new()));
        }
        if !names::is_room_alias(id_or_alias) {
            return Err(Error::invalid_param(format!("{id_or_alias:?} is neither a room id nor a room alias.")));
        }
        if let Some(alias) = self.rooms.alias(id_or_alias)? {
            let mut servers = self.rooms.reader(RoomKey::of(&alias.room_id)).servers()?;
            let own = self.server_name().to_owned();
            servers.retain(|server| *server != own);
            servers.insert(0, own);
            return Ok((alias.room_id, servers));
        }
        let server = names::server_of(id_or_alias).unwrap_or_default();
        if server == self.server_name() {
            return Err(Error::not_found(format!("There is no alias {id_or_alias}.")));
        }
        let answer = self.client.alias(server, id_or_alias).await.map_err(|error| remote_error(&error))?;
        let mut servers = answer.servers;
        if !servers.iter().any(|one| one == server) {
            servers.push(server.to_owned());
        }
        Ok((answer.room_id, servers))
    }

    /// Joins a user to a room; gives its id.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`, 404 `M_NOT_FOUND`, 400 `M_INCOMPATIBLE_ROOM_VERSION`, what other servers say.
    pub async fn join_room(
        &self,
        user_id: &str,
        id_or_alias: &str,
        via: &[String],
        reason: Option<&str>,
        third_party_signed: Option<&Value>,
    ) -> Result<String> {
        self.count_join(user_id)?;
        let (room_id, servers) = self.find_room(id_or_alias).await?;
        let (user, room) = (UserKey::of(user_id), RoomKey::of(&room_id));
        let row = memberships::of_user_in(&self.rooms.deps().store.snapshot(), user, room)?;
        let was_here = row.is_some_and(|row| !matches!(row.membership, Membership::Invite | Membership::Knock));
        self.join_found(user_id, &room_id, servers, via, reason, third_party_signed).await?;
        if !was_here {
            self.carry_settings_over(user_id, &room_id).await;
        }
        Ok(room_id)
    }

    async fn join_found(
        &self,
        user_id: &str,
        room_id: &str,
        mut servers: Vec<String>,
        via: &[String],
        reason: Option<&str>,
        third_party_signed: Option<&Value>,
    ) -> Result<()> {
        let mut extra = Map::new();
        if let Some(signed) = third_party_signed {
            extra.insert("third_party_signed".into(), signed.clone());
        }
        let extra = (!extra.is_empty()).then_some(&extra);
        if self.rooms.is_resident(room_id)?
            && self.rooms.join_local(user_id, room_id, reason, extra).await? == LocalJoin::Joined
        {
            return Ok(());
        }
        let mut candidates = via.to_vec();
        candidates.extend(self.inviter_server(user_id, room_id)?);
        candidates.append(&mut servers);
        candidates.extend(self.rooms.reader(RoomKey::of(room_id)).servers()?);
        candidates.extend(names::server_of(room_id).map(str::to_owned));
        let candidates = distinct(candidates);
        let mut content = self.rooms.member_content(user_id, Membership::Join)?;
        if let Some(reason) = reason {
            content.insert("reason".into(), json!(reason));
        }
        self.join(user_id, room_id, &candidates, &content).await
    }

    /// Ends a user's membership, invite or knock.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` for who has none.
    pub async fn leave_room(&self, user_id: &str, room_id: &str, reason: Option<&str>) -> Result<()> {
        let row =
            memberships::of_user_in(&self.rooms.deps().store.snapshot(), UserKey::of(user_id), RoomKey::of(room_id))?;
        if let Some(row) = row.filter(|row| row.event.is_none()) {
            if !matches!(row.membership, Membership::Invite | Membership::Knock) {
                return Ok(());
            }
            let mut servers = row.likely_servers(user_id);
            servers.extend(names::server_of(room_id).map(str::to_owned));
            let content = crate::rooms::membership::content_with_reason(Membership::Leave, reason);
            return self.leave_remote(user_id, room_id, &distinct(servers), &content).await;
        }
        if !self.rooms.is_known(room_id)? {
            return Err(crate::rooms::send::not_in_room(room_id));
        }
        self.rooms.leave_local(user_id, room_id, reason).await
    }

    /// Invites a user of any server.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`, what the user's server says.
    pub async fn invite_user(
        &self,
        sender: &str,
        room_id: &str,
        target: &str,
        reason: Option<&str>,
        is_direct: bool,
    ) -> Result<()> {
        if !names::is_user_id(target) {
            return Err(Error::invalid_param(format!("{target:?} is no user id.")));
        }
        self.count_invites(sender, 1)?;
        self.invite_counted(sender, room_id, target, reason, is_direct).await
    }

    async fn invite_counted(
        &self,
        sender: &str,
        room_id: &str,
        target: &str,
        reason: Option<&str>,
        is_direct: bool,
    ) -> Result<()> {
        if self.rooms.is_local(target) {
            if !self.rooms.deps().profiles.exists(target)? {
                return Err(Error::not_found(format!("There is no user {target} on this server.")));
            }
            return self.rooms.invite_local(sender, room_id, target, reason, is_direct).await;
        }
        if !self.rooms.is_known(room_id)? {
            return Err(crate::rooms::send::not_in_room(room_id));
        }
        let mut content = self.rooms.member_content(target, Membership::Invite)?;
        if let Some(reason) = reason {
            content.insert("reason".into(), json!(reason));
        }
        if is_direct {
            content.insert("is_direct".into(), json!(true));
        }
        self.invite(sender, room_id, target, content).await
    }

    /// Knocks on a room; gives its id.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`, 404 `M_NOT_FOUND`.
    pub async fn knock_room(
        &self,
        user_id: &str,
        id_or_alias: &str,
        via: &[String],
        reason: Option<&str>,
    ) -> Result<String> {
        self.count_join(user_id)?;
        let (room_id, mut servers) = self.find_room(id_or_alias).await?;
        if self.rooms.is_resident(&room_id)? {
            self.rooms.knock_local(user_id, &room_id, reason).await?;
            return Ok(room_id);
        }
        let mut candidates = via.to_vec();
        candidates.append(&mut servers);
        candidates.extend(names::server_of(&room_id).map(str::to_owned));
        let mut content = self.rooms.member_content(user_id, Membership::Knock)?;
        if let Some(reason) = reason {
            content.insert("reason".into(), json!(reason));
        }
        self.knock(user_id, &room_id, &distinct(candidates), &content).await?;
        Ok(room_id)
    }

    /// Makes a room and sends its invites to other servers.
    ///
    /// # Errors
    /// As [`crate::rooms::Rooms::create`]; an invite that fails is logged, as the room exists by then.
    pub async fn create_room(&self, creator: &str, request: crate::rooms::create::CreateRoom) -> Result<String> {
        let limits = &self.rooms.deps().limits;
        limits.take(&limits.configured.rooms, creator)?;
        self.count_invites(creator, request.invite.len())?;
        let is_direct = request.is_direct;
        let created = self.rooms.create(creator, request).await?;
        for target in &created.remote_invites {
            if let Err(error) = self.invite_counted(creator, &created.room_id, target, None, is_direct).await {
                tracing::warn!(room = %created.room_id, user = %target, %error, "an invite to a new room failed");
            }
        }
        Ok(created.room_id)
    }

    fn count_join(&self, user_id: &str) -> Result<()> {
        let limits = &self.rooms.deps().limits;
        limits.take(&limits.configured.joins, user_id)
    }

    fn count_invites(&self, sender: &str, count: usize) -> Result<()> {
        let limits = &self.rooms.deps().limits;
        limits.take_many(&limits.configured.invites, sender, count)
    }

    /// The server of whoever invited a user to a room.
    pub(super) fn inviter_server(&self, user_id: &str, room_id: &str) -> Result<Option<String>> {
        let snapshot = self.rooms.deps().store.snapshot();
        let Some(row) = memberships::of_user_in(&snapshot, UserKey::of(user_id), RoomKey::of(room_id))? else {
            return Ok(None);
        };
        let sender = row.inviter(&self.rooms.reader(row.room), user_id)?;
        Ok(sender.as_deref().and_then(names::server_of).map(str::to_owned))
    }

    /// Sends a state event on behalf of a user; memberships of users elsewhere go through their servers.
    ///
    /// # Errors
    /// As [`crate::rooms::Rooms::set_state`].
    pub async fn set_state(
        &self,
        sender: &str,
        room_id: &str,
        event_type: &str,
        state_key: &str,
        content: Map<String, Value>,
    ) -> Result<String> {
        let invites =
            event_type == "m.room.member" && content.get("membership").and_then(Value::as_str) == Some("invite");
        if invites {
            self.count_invites(sender, 1)?;
        }
        if invites && !self.rooms.is_local(state_key) {
            self.invite(sender, room_id, state_key, content).await?;
            let (reader, head) = self.rooms.known(room_id)?;
            return reader
                .state_event(head.root, event_type, state_key)?
                .map(|event| event.event_id().to_owned())
                .ok_or_else(|| Error::internal("an invite that was just placed is not in the state"));
        }
        self.rooms.set_state(sender, room_id, event_type, state_key, content).await
    }
}

pub(super) fn distinct(servers: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    servers.into_iter().filter(|server| names::is_server_name(server) && seen.insert(server.clone())).collect()
}
