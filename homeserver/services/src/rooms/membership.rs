//! Memberships that this server can change by itself, because it holds the room's state.

use super::restricted::Restricted;
use super::send::not_in_room;
use super::writer::NewEvent;
use super::{Membership, RoomWriter, Rooms};
use crate::commit::commit_freely;
use crate::error::{Error, Result};
use crate::names;
use crate::tables;
use serde_json::{Map, Value, json};
use state_res::ids::{RoomKey, UserKey};
use storage::Batch;

/// How a join of a local user to a room we hold came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalJoin {
    /// The user is joined.
    Joined,
    /// A server whose users may invite has to vouch for the join; none of ours may.
    NeedsAnotherServer,
}

impl Rooms {
    /// Content of a member event of a user: their profile beside the membership.
    pub fn member_content(&self, user_id: &str, membership: Membership) -> Result<Map<String, Value>> {
        let mut content =
            if self.is_local(user_id) { self.deps().profiles.member_fields(user_id)? } else { Map::new() };
        content.insert("membership".into(), json!(membership.as_str()));
        Ok(content)
    }

    /// Joins a local user to a room of which we hold the state.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` where the rules refuse.
    pub async fn join_local(
        &self,
        user_id: &str,
        room_id: &str,
        reason: Option<&str>,
        extra: Option<&Map<String, Value>>,
    ) -> Result<LocalJoin> {
        let mut content = self.member_content(user_id, Membership::Join)?;
        if let Some(reason) = reason {
            content.insert("reason".into(), json!(reason));
        }
        if let Some(extra) = extra {
            content.extend(extra.clone());
        }
        self.write(room_id, |writer| {
            let root = writer.head.root;
            if writer.reader.membership_in(root, user_id)? == Some(Membership::Join) {
                return Ok(LocalJoin::Joined);
            }
            let mut content = content.clone();
            match self.authorise_restricted(&writer.reader, root, user_id)? {
                Restricted::NotNeeded => {}
                Restricted::By(authoriser) => {
                    content.insert("join_authorised_via_users_server".into(), json!(authoriser));
                }
                Restricted::NobodyHere | Restricted::Unknown
                    if writer.reader.servers()?.iter().all(|server| *server == self.deps().server_name) =>
                {
                    return Err(Error::forbidden(format!(
                        "To join {room_id}, somebody in it who may invite has to vouch for you, and nobody can."
                    )));
                }
                Restricted::NobodyHere | Restricted::Unknown => return Ok(LocalJoin::NeedsAnotherServer),
                Restricted::Refused => {
                    return Err(Error::forbidden(format!(
                        "You are in none of the rooms whose members may join {room_id}."
                    )));
                }
            }
            writer.send(NewEvent::state(user_id, "m.room.member", user_id, content))?;
            Ok(LocalJoin::Joined)
        })
        .await
        .map(|(outcome, _)| outcome)
    }

    /// Ends a local user's membership (or invite, or knock) in a room of which we hold the state.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` for who has none.
    pub async fn leave_local(&self, user_id: &str, room_id: &str, reason: Option<&str>) -> Result<()> {
        self.write(room_id, |writer| {
            match writer.reader.membership_in(writer.head.root, user_id)? {
                Some(Membership::Join | Membership::Invite | Membership::Knock) => {}
                Some(Membership::Leave) => return Ok(()),
                Some(Membership::Ban) => return Err(Error::forbidden(format!("You are banned from {room_id}."))),
                None => return Err(not_in_room(room_id)),
            }
            let content = content_with_reason(Membership::Leave, reason);
            writer.send(NewEvent::state(user_id, "m.room.member", user_id, content)).map(|_| ())
        })
        .await
        .map(|((), _)| ())
    }

    /// Invites a local user to a room of which we hold the state.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` where the sender may not, or the user is joined or banned.
    pub async fn invite_local(
        &self,
        sender: &str,
        room_id: &str,
        target: &str,
        reason: Option<&str>,
        is_direct: bool,
    ) -> Result<()> {
        let mut content = self.member_content(target, Membership::Invite)?;
        if let Some(reason) = reason {
            content.insert("reason".into(), json!(reason));
        }
        if is_direct {
            content.insert("is_direct".into(), json!(true));
        }
        self.write_member(sender, room_id, target, content).await
    }

    /// Removes a user from a room, withdraws their invite or refuses their knock.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` where the sender may not, or the user is not in the room.
    pub async fn kick(&self, sender: &str, room_id: &str, target: &str, reason: Option<&str>) -> Result<()> {
        let (reader, _) = self.known_to(sender, room_id)?;
        let membership = reader.member(UserKey::of(target))?.map(|member| member.membership);
        if !matches!(membership, Some(Membership::Join | Membership::Invite | Membership::Knock)) {
            let is = membership.map_or("not in the room", Membership::as_str);
            return Err(Error::forbidden(format!(
                "{target} cannot be removed: their membership of {room_id} is: {is}."
            )));
        }
        self.write_member(sender, room_id, target, content_with_reason(Membership::Leave, reason)).await
    }

    /// Bans a user.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` where the sender may not.
    pub async fn ban(&self, sender: &str, room_id: &str, target: &str, reason: Option<&str>) -> Result<()> {
        self.write_member(sender, room_id, target, content_with_reason(Membership::Ban, reason)).await
    }

    /// Lifts a ban.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` where the sender may not, 403 `M_BAD_STATE` where the user is not banned.
    pub async fn unban(&self, sender: &str, room_id: &str, target: &str, reason: Option<&str>) -> Result<()> {
        let (reader, _) = self.known_to(sender, room_id)?;
        if reader.member(UserKey::of(target))?.is_none_or(|member| member.membership != Membership::Ban) {
            return Err(Error::new(403, "M_BAD_STATE", format!("{target} is not banned from {room_id}.")));
        }
        self.write_member(sender, room_id, target, content_with_reason(Membership::Leave, reason)).await
    }

    /// Knocks on a room of which we hold the state.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` where the rules refuse.
    pub async fn knock_local(&self, user_id: &str, room_id: &str, reason: Option<&str>) -> Result<()> {
        let mut content = self.member_content(user_id, Membership::Knock)?;
        if let Some(reason) = reason {
            content.insert("reason".into(), json!(reason));
        }
        self.write(room_id, |writer| {
            writer.send(NewEvent::state(user_id, "m.room.member", user_id, content.clone())).map(|_| ())
        })
        .await
        .map(|((), _)| ())
    }

    async fn write_member(&self, sender: &str, room_id: &str, target: &str, content: Map<String, Value>) -> Result<()> {
        if !names::is_user_id(target) {
            return Err(Error::invalid_param(format!("{target:?} is no user id.")));
        }
        if !self.is_known(room_id)? {
            return Err(not_in_room(room_id));
        }
        self.write(room_id, |writer| {
            super::send::require_joined(writer, sender)?;
            self.keep_what_is_set(writer, target, &content)?;
            writer.send(NewEvent::state(sender, "m.room.member", target, content.clone())).map(|_| ())
        })
        .await
        .map(|((), _)| ())
    }

    fn keep_what_is_set(&self, writer: &RoomWriter<'_>, target: &str, content: &Map<String, Value>) -> Result<()> {
        let membership = writer.reader.membership_in(writer.head.root, target)?;
        if content.get("membership").and_then(Value::as_str) == Some("invite") && membership == Some(Membership::Join) {
            return Err(Error::forbidden(format!("{target} is in the room already.")));
        }
        Ok(())
    }

    /// `POST /rooms/{roomId}/forget`.
    ///
    /// # Errors
    /// 400 `M_UNKNOWN` for a room that the user is in.
    pub async fn forget(&self, user_id: &str, room_id: &str) -> Result<()> {
        let (user, room) = (UserKey::of(user_id), RoomKey::of(room_id));
        let snapshot = self.deps().store.snapshot();
        match super::memberships::of_user_in(&snapshot, user, room)? {
            Some(row) if matches!(row.membership, Membership::Leave | Membership::Ban) => {}
            Some(_) => {
                return Err(Error::unknown(format!("You are still in {room_id}; leave it before you forget it.")));
            }
            None => return Err(Error::not_found(format!("You have never been in {room_id}."))),
        }
        let mut batch = Batch::with_random_id(&self.deps().world);
        batch.put(tables::FORGOTTEN, &super::memberships::room_key_of(user, room), b"");
        commit_freely(&self.deps().store, batch).await.map(drop)
    }

    /// Brings a local user's member events up to their profile, in every room they are joined to.
    pub async fn profile_changed(&self, user_id: &str) -> Result<()> {
        let snapshot = self.deps().store.snapshot();
        for row in super::memberships::of_user(&snapshot, UserKey::of(user_id))? {
            if row.membership != Membership::Join {
                continue;
            }
            let fields = self.deps().profiles.member_fields(user_id)?;
            let written = self
                .write(&row.room_id, |writer| {
                    let Some(member) = writer.current("m.room.member", user_id)? else { return Ok(()) };
                    if Membership::of(&member) != Membership::Join {
                        return Ok(());
                    }
                    let mut content = member.content().clone();
                    for field in ["displayname", "avatar_url", "join_authorised_via_users_server", "third_party_invite"]
                    {
                        content.remove(field);
                    }
                    content.extend(fields.clone());
                    if content == *member.content() {
                        return Ok(());
                    }
                    writer.send(NewEvent::state(user_id, "m.room.member", user_id, content)).map(|_| ())
                })
                .await;
            if let Err(error) = written {
                tracing::warn!(room = %row.room_id, %error, "a member event could not follow the user's profile");
            }
        }
        Ok(())
    }
}

pub(crate) fn content_with_reason(membership: Membership, reason: Option<&str>) -> Map<String, Value> {
    let mut content = Map::new();
    content.insert("membership".into(), json!(membership.as_str()));
    if let Some(reason) = reason {
        content.insert("reason".into(), json!(reason));
    }
    content
}
