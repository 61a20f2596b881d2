//! Invites across servers.

use super::{Peers, remote_refusal};
use crate::accounts::invite_permission;
use crate::error::{Error, Result};
use crate::names;
use crate::rooms::memberships::{self, Outside, UserRoom};
use crate::rooms::policy::{PolicyServer, Whose};
use crate::rooms::{Membership, NewEvent};
use federation::RawJson;
use federation::types::InviteRequest;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use state_res::build;
use state_res::ids::{EventKey, RoomKey, UserKey};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use state_res::sign::{countersign, merge_signatures};
use state_res::steps::{Checked, Received};
use std::collections::HashMap;

/// Most events of `invite_room_state` kept.
const MAX_STRIPPED: usize = 50;

/// The stripped form of a state event, from a PDU or an already stripped one.
pub(super) fn strip(event: &RawJson) -> Option<Value> {
    let event: Map<String, Value> = event.parse().ok()?;
    let part = |name: &str| event.get(name).cloned();
    Some(
        json!({ "type": part("type")?, "state_key": part("state_key")?, "sender": part("sender")?, "content": part("content")? }),
    )
}

/// The same of an event that has been read; `None` for one that is no state event.
fn strip_pdu(event: &Pdu) -> Option<Value> {
    Some(json!({
        "type": event.event_type(), "state_key": event.state_key()?, "sender": event.sender(), "content": event.content(),
    }))
}

impl Peers {
    /// Invites a user of another server: that server signs the invite before the room gets it.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` where the sender may not; what the other server says.
    pub async fn invite(&self, sender: &str, room_id: &str, target: &str, content: Map<String, Value>) -> Result<()> {
        let server = names::server_of(target)
            .filter(|_| names::is_user_id(target))
            .ok_or_else(|| Error::invalid_param(format!("{target:?} is no user id.")))?;
        let deps = self.rooms.deps();
        let event = NewEvent::state(sender, "m.room.member", target, content);
        let ((invite, stripped, version, policy), _) = self
            .rooms
            .write(room_id, |writer| {
                if writer.reader.membership_in(writer.head.root, sender)? != Some(Membership::Join) {
                    return Err(crate::rooms::send::not_in_room(room_id));
                }
                if writer.reader.membership_in(writer.head.root, target)? == Some(Membership::Join) {
                    return Err(Error::forbidden(format!("{target} is in the room already.")));
                }
                let (fields, state) = writer.fields(&event)?;
                let version = writer.head.room_version;
                let pdu = build::build(version, fields, &deps.server_name, &deps.signing_key())
                    .map_err(crate::rooms::writer::pdu_error)?;
                state_res::auth::check(&pdu, &state).map_err(crate::rooms::writer::refused)?;
                let mut pdus = Vec::new();
                for kind in crate::sync::STRIPPED_TYPES {
                    if let Some(event) = writer.current(kind, "")? {
                        pdus.push(RawJson::from_known(event.canonical().to_vec()));
                    }
                }
                if let Some(member) = writer.current("m.room.member", sender)? {
                    pdus.push(RawJson::from_known(member.canonical().to_vec()));
                }
                Ok((pdu, pdus, version, PolicyServer::of(&writer.reader, writer.head.root)?))
            })
            .await?;
        // Before anybody else sees it.
        let invite = match &policy {
            Some(policy) => deps.policy_servers.sign(policy, &invite, Whose::Ours).await?,
            None => invite,
        };
        let request = InviteRequest {
            room_id: room_id.to_owned(),
            event_id: invite.event_id().to_owned(),
            room_version: version.as_str().to_owned(),
            event: RawJson::from_known(invite.canonical().to_vec()),
            invite_room_state: stripped,
        };
        let signed = self.client.invite(server, &request).await.map_err(|error| remote_refusal(&error))?;
        let copy = Pdu::parse(version, signed.as_bytes()).map_err(|error| {
            Error::new(502, "M_UNKNOWN", format!("{server} answered the invite with no valid event: {error}."))
        })?;
        if copy.event_id() != invite.event_id() {
            return Err(Error::new(502, "M_UNKNOWN", format!("{server} answered the invite with another event.")));
        }
        if !copy.signatures().any(|(signer, _, _)| signer == server) {
            return Err(Error::new(502, "M_UNKNOWN", format!("{server} answered the invite without signing it.")));
        }
        let invite = merge_signatures(&invite, &copy).map_err(Error::internal)?;
        self.rooms
            .write(room_id, |writer| {
                if PolicyServer::of(&writer.reader, writer.head.root)?.is_some_and(|policy| !policy.recommends(&invite))
                {
                    return Err(Error::forbidden("The room changed its policy server meanwhile; try again."));
                }
                let before = super::receive::state_after_all(writer, invite.prev_events())?;
                match super::judge::judge(writer, &invite, before, false)?.settled()? {
                    crate::rooms::standing::Fate::Accepted => {
                        writer.place(invite.clone(), before, crate::rooms::standing::Fate::Accepted, true)
                    }
                    _ => Err(Error::forbidden("The room changed meanwhile and no longer allows the invite.")),
                }
            })
            .await
            .map(|((), _)| ())
    }

    /// Answers another server's invite of one of our users: checks it, tells the user, and signs it.
    pub(super) async fn on_invite(&self, origin: &str, request: InviteRequest) -> Result<RawJson> {
        let version: RoomVersion = request.room_version.parse().map_err(|_| {
            Error::new(
                400,
                "M_INCOMPATIBLE_ROOM_VERSION",
                format!("This server does not know room version {:?}.", request.room_version),
            )
            .with("room_version", request.room_version.clone())
        })?;
        let received = Received::parse(version, request.event.as_bytes()).map_err(crate::rooms::writer::pdu_error)?;
        let checked = self
            .check_one(origin, version, received)
            .await
            .ok_or_else(|| Error::invalid_param("The invite's signatures do not hold."))?;
        let invite = checked.into_event();
        let target = invite.state_key().unwrap_or_default().to_owned();
        if invite.event_type() != "m.room.member" || Membership::of(&invite) != Membership::Invite {
            return Err(Error::invalid_param("The event is no invite."));
        }
        if invite.room_id() != request.room_id || invite.event_id() != request.event_id {
            return Err(Error::invalid_param("The event is not the one that the path names."));
        }
        if invite.sender_server() != origin {
            return Err(Error::invalid_param("An invite comes from its sender's server."));
        }
        if !self.rooms.is_local(&target) {
            return Err(Error::invalid_param(format!("{target} is no user of this server.")));
        }
        if !self.rooms.deps().profiles.exists(&target)? {
            return Err(Error::not_found(format!("There is no user {target} here.")));
        }
        invite_permission::admit(&self.rooms.deps().store.snapshot(), &target)?;
        if self.rooms.is_resident(&request.room_id)? {
            // Where we are in the room, its server ACL counts.
            self.shared(origin, &request.room_id)?;
        }
        let mut stripped: Vec<Value> = if version.rules().create_event_is_room_id {
            let shown = self.signed_room_state(version, origin, room_state(version, &request)?).await?;
            shown.iter().filter_map(strip_pdu).take(MAX_STRIPPED).collect()
        } else {
            request.invite_room_state.iter().filter_map(strip).take(MAX_STRIPPED).collect()
        };
        let deps = self.rooms.deps();
        let signed = countersign(&invite, &deps.server_name, &deps.signing_key()).map_err(Error::internal)?;
        // A room that we are in sends the invite to us as well; it changes the room's state then.
        if !self.rooms.is_resident(&request.room_id)? {
            stripped.push(json!({
                "type": "m.room.member",
                "state_key": target,
                "sender": invite.sender(),
                "content": invite.content(),
                "event_id": invite.event_id(),
                "origin_server_ts": invite.origin_server_ts(),
            }));
            let stripped = Value::Array(stripped).to_string();
            let outside = Outside { stripped: &stripped, version: Some(version), via: None };
            self.write_membership(&target, &request.room_id, Membership::Invite, outside).await?;
        }
        Ok(RawJson::from_known(signed.canonical().to_vec()))
    }

    /// Of what an invite shows of its room, from room version 12 on, what is signed as it has to be. Of what other servers than the inviter's are
    /// to have signed, the rest is left out, as their keys may not be there to be had.
    async fn signed_room_state(&self, version: RoomVersion, origin: &str, shown: Vec<Received>) -> Result<Vec<Pdu>> {
        let claimed: Vec<Pdu> = shown.iter().map(|event| event.event().clone()).collect();
        let checked = self.check_received(origin, version, shown).await.into_iter().map(Checked::into_event);
        let signed: HashMap<EventKey, Pdu> = checked.map(|event| (event.key(), event)).collect();
        let mut shown = Vec::with_capacity(signed.len());
        for (index, event) in claimed.iter().enumerate() {
            match signed.get(&event.key()) {
                Some(event) => shown.push(event.clone()),
                None if event.sender_server() == origin => {
                    let because = format!("The signatures of invite_room_state[{index}] do not hold.");
                    return Err(Error::invalid_param(because));
                }
                None => tracing::info!(event = event.event_id(), origin, "left out of an invite: nobody has signed it"),
            }
        }
        Ok(shown)
    }

    /// Takes an event of a room that we are not in, if it ends the invite or the knock of a user of ours: the user was kicked or banned.
    ///
    /// Without the room's state nobody can tell whether the event is allowed. It is believed if it is signed by the server that sent it and
    /// names, among its auth events, the invite or knock that it ends: its id is known to servers in the room alone. Gives its event id.
    ///
    /// # Errors
    /// A sentence for the transaction's answer, where it is no such event.
    pub(super) async fn on_end_of_invite(
        &self,
        origin: &str,
        room_id: &str,
        json: &[u8],
    ) -> std::result::Result<String, String> {
        let not_here = || format!("This server is not in the room {room_id}.");
        let target: Target = serde_json::from_slice(json).map_err(|_| not_here())?;
        let Some(target) = target.state_key.filter(|user| self.rooms.is_local(user)) else { return Err(not_here()) };
        let row = self.outside_membership(&target, room_id).map_err(|error| error.message)?.ok_or_else(not_here)?;
        let version = match row.room_version {
            Some(version) => version,
            None => self.rooms.version(room_id).map_err(|error| error.message)?.ok_or_else(not_here)?,
        };
        let received = Received::parse(version, json).map_err(|error| error.to_string())?;
        let ends = matches!(Membership::of(received.event()), Membership::Leave | Membership::Ban);
        if !received.event().is_state_of("m.room.member", &target) || received.event().room_id() != room_id || !ends {
            return Err(not_here());
        }
        if received.event().sender_server() != origin {
            return Err(format!("The end of {target}'s invite comes from another server than its sender's."));
        }
        let event = self
            .check_one(origin, version, received)
            .await
            .ok_or_else(|| "the event's signatures do not hold".to_owned())?
            .into_event();
        let lock = self.lock(RoomKey::of(room_id));
        let _turn = lock.lock().await;
        let row = self.outside_membership(&target, room_id).map_err(|error| error.message)?.ok_or_else(not_here)?;
        let member = row.stripped_member(&target);
        let known = member.as_ref().and_then(|member| member.get("event_id")).and_then(Value::as_str);
        if !known.is_some_and(|known| event.auth_events().iter().any(|id| id == known)) {
            return Err(format!("The event does not refer to {target}'s membership as it is known here."));
        }
        let ended = self.write_membership(&target, room_id, Membership::of(&event), Outside::default()).await;
        ended.map_err(|error| error.message)?;
        Ok(event.event_id().to_owned())
    }

    /// A user's invite to, or knock on, a room of which we hold no state.
    fn outside_membership(&self, user_id: &str, room_id: &str) -> Result<Option<UserRoom>> {
        let snapshot = self.rooms.deps().store.snapshot();
        let row = memberships::of_user_in(&snapshot, UserKey::of(user_id), RoomKey::of(room_id))?;
        Ok(row.filter(|row| row.event.is_none() && matches!(row.membership, Membership::Invite | Membership::Knock)))
    }
}

/// What an invite shows of its room: from room version 12 on, whole events, the create event among them (`PUT /v2/invite`). That one names the
/// room by its hash, so that the room's version and creators are what the invite says.
fn room_state(version: RoomVersion, request: &InviteRequest) -> Result<Vec<Received>> {
    let mut shown = Vec::with_capacity(request.invite_room_state.len());
    for (index, event) in request.invite_room_state.iter().enumerate() {
        let event = Received::parse(version, event.as_bytes()).map_err(|error| {
            Error::invalid_param(format!("invite_room_state[{index}] is no event of room version {version}: {error}."))
        })?;
        if event.event().room_id() != request.room_id {
            return Err(Error::invalid_param(format!("invite_room_state[{index}] belongs to another room.")));
        }
        shown.push(event);
    }
    if shown.iter().any(|event| event.event().is_state_of("m.room.create", "")) {
        return Ok(shown);
    }
    Err(Error::invalid_param("invite_room_state lacks the room's m.room.create event."))
}

/// Whose membership an event is about.
#[derive(Deserialize)]
struct Target {
    state_key: Option<String>,
}
