//! Answers to other servers' questions, wired to rooms, accounts and keys.

use super::Peers;
use crate::accounts::Accounts;
use crate::ephemeral::Receipt;
use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::names::{is_event_id, is_thread_id};
use crate::rooms::directory::DirectoryQuery;
use crate::rooms::restricted::Restricted;
use crate::rooms::standing::Fate;
use crate::rooms::{Membership, NewEvent};
use async_trait::async_trait;
use federation::types::{
    AliasAnswer, ClaimedKeys, DeviceKeyRequest, Direction, EventAtTime, Hierarchy, InviteRequest, JoinAnswer,
    KeyClaimRequest, MissingEventsRequest, PublicRoomsRequest, StateAnswer, StateIds, Template, TransactionAnswer,
    UserDevices, UserKeys,
};
use federation::{Answers, ApiError, Edu, RawJson};
use serde_json::{Map, Value, json};
use state_res::ids::{RoomKey, UserKey};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use state_res::sign::countersign;
use state_res::steps::Received;
use std::sync::Arc;
use std::time::Duration;

/// How long a remote user's notice of typing holds.
const REMOTE_TYPING: Duration = Duration::from_secs(45);
/// Most users whose receipts one EDU may carry for one room.
const MAX_RECEIPTS: usize = 1_000;

/// What answers a peer.
pub struct PeerAnswers {
    /// Rooms.
    pub peers: Peers,
    /// Profiles.
    pub accounts: Arc<Accounts>,
    /// Devices and their keys.
    pub keys: Arc<Keys>,
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let mut api = ApiError::new(error.status, error.errcode, error.message);
        api.extra = error.extra;
        api
    }
}

impl PeerAnswers {
    /// A member event sent to us to pass on to the room: a join, leave or knock of a user of `origin`.
    async fn take_member(
        &self,
        origin: &str,
        room_id: &str,
        event_id: &str,
        event: &RawJson,
        wanted: Membership,
    ) -> Result<Pdu> {
        let (reader, head) = self.peers.shared(origin, room_id)?;
        let version = head.room_version;
        let received = Received::parse(version, event.as_bytes()).map_err(crate::rooms::writer::pdu_error)?;
        let pdu = received.event();
        if pdu.room_id() != room_id || pdu.event_id() != event_id {
            return Err(Error::invalid_param("The event is not the one that the path names."));
        }
        if pdu.event_type() != "m.room.member" || Membership::of(pdu) != wanted || pdu.state_key() != Some(pdu.sender())
        {
            return Err(Error::invalid_param(format!(
                "The event does not say that its sender's membership is {}.",
                wanted.as_str()
            )));
        }
        if pdu.sender_server() != origin {
            return Err(Error::invalid_param("The event's sender is of another server than the one that sends it."));
        }
        let received = self.vouch(version, received, &reader, head.root)?;
        let event = self
            .peers
            .check_one(origin, version, received)
            .await
            .ok_or_else(|| Error::invalid_param("The event's signatures do not hold."))?
            .into_event();
        let key = event.key();
        let taken = self.peers.take(origin, version, event.clone(), true).await?;
        match (taken.fate, taken.refusal) {
            // As it stands now: the room's policy server may have signed it.
            (Fate::Accepted, _) => Ok(self.peers.rooms.reader(reader.room()).pdu(key)?.unwrap_or(event)),
            (_, Some(refusal)) => Err(refusal),
            (Fate::SoftFailed | Fate::Rejected, None) => Err(Error::forbidden("The room does not allow this event.")),
        }
    }

    /// Signs a restricted join that names a user of ours as who allows it, if they may.
    fn vouch(
        &self,
        version: RoomVersion,
        received: Received,
        reader: &crate::rooms::RoomReader,
        root: state_res::tree::Root,
    ) -> Result<Received> {
        let pdu = received.event();
        let authoriser = pdu.content().get("join_authorised_via_users_server").and_then(Value::as_str);
        if !version.rules().auth.restricted_joins || !authoriser.is_some_and(|user| self.peers.rooms.is_local(user)) {
            return Ok(received);
        }
        match self.peers.rooms.authorise_restricted(reader, root, pdu.sender())? {
            Restricted::By(_) | Restricted::NotNeeded => {}
            refused @ (Restricted::NobodyHere | Restricted::Unknown) => return Err(cannot_vouch(&refused)),
            Restricted::Refused => {
                return Err(Error::forbidden("The user is in none of the rooms whose members may join."));
            }
        }
        let deps = self.peers.rooms.deps();
        let signed = countersign(pdu, &deps.server_name, &deps.signing_key()).map_err(Error::internal)?;
        Ok(Received::new(signed))
    }

    fn check_version(version: RoomVersion, versions: &[String]) -> Result<()> {
        if versions.iter().any(|one| one == version.as_str()) {
            return Ok(());
        }
        Err(Error::new(
            400,
            "M_INCOMPATIBLE_ROOM_VERSION",
            format!("The room has version {}, which you do not support.", version.as_str()),
        )
        .with("room_version", version.as_str()))
    }

    pub(super) async fn take_edu(&self, origin: &str, edu: Edu) -> Result<()> {
        match edu {
            Edu::Typing(typing) => {
                if crate::names::server_of(&typing.user_id) != Some(origin)
                    || self.peers.shared(origin, &typing.room_id).is_err()
                    || !self.is_joined(&typing.room_id, &typing.user_id)?
                {
                    return Ok(());
                }
                self.peers.ephemeral.set_typing(
                    &typing.room_id,
                    &typing.user_id,
                    typing.typing.then_some(REMOTE_TYPING),
                    || (),
                );
            }
            Edu::Receipt(receipts) => {
                for (room_id, kinds) in receipts.0 {
                    let Some(users) = kinds.get("m.read") else { continue };
                    // Among other things, the room's access control list may keep the server out.
                    if self.peers.shared(origin, &room_id).is_err() {
                        continue;
                    }
                    for (user_id, receipt) in users.iter().take(MAX_RECEIPTS) {
                        if crate::names::server_of(user_id) != Some(origin) || !self.is_joined(&room_id, user_id)? {
                            continue;
                        }
                        let Some(event_id) = receipt.event_ids.last() else { continue };
                        let thread = receipt.data.thread_id.as_deref();
                        if !is_event_id(event_id) || !thread.is_none_or(is_thread_id) {
                            tracing::debug!(%origin, user = %user_id, "receipt ignored: its event or thread cannot be");
                            continue;
                        }
                        let receipt = Receipt {
                            user_id: user_id.clone(),
                            kind: "m.read".to_owned(),
                            thread: receipt.data.thread_id.clone(),
                            event_id: event_id.clone(),
                            ts: receipt.data.ts,
                        };
                        self.peers.ephemeral.set_receipt(&room_id, &receipt).await?;
                    }
                }
            }
            Edu::Presence(_) => {}
            Edu::DeviceListUpdate(update) => self.keys.on_device_list_update(origin, update).await?,
            Edu::SigningKeyUpdate(update) => self.keys.on_signing_key_update(origin, update).await?,
            Edu::DirectToDevice(messages) => self.keys.on_to_device(origin, messages).await?,
        }
        Ok(())
    }

    fn is_joined(&self, room_id: &str, user_id: &str) -> Result<bool> {
        let reader = self.peers.rooms.reader(RoomKey::of(room_id));
        Ok(reader.member(UserKey::of(user_id))?.is_some_and(|member| member.membership == Membership::Join))
    }
}

/// What keeps us from vouching for a join to a restricted room (server-server API, "Restricted rooms").
fn cannot_vouch(because: &Restricted) -> Error {
    match because {
        Restricted::Unknown => Error::new(
            400,
            "M_UNABLE_TO_AUTHORISE_JOIN",
            "This server cannot tell whether the user is in one of the rooms whose members may join.",
        ),
        _ => Error::new(
            400,
            "M_UNABLE_TO_GRANT_JOIN",
            "Nobody on this server may invite to the room, and so vouch for the join.",
        ),
    }
}

#[async_trait]
impl Answers for PeerAnswers {
    async fn transaction(
        &self,
        origin: &str,
        _txn_id: &str,
        pdus: Vec<RawJson>,
        edus: Vec<Edu>,
    ) -> Result<TransactionAnswer, ApiError> {
        Ok(self.take_transaction(origin, pdus, edus).await?)
    }

    async fn make_join(
        &self,
        origin: &str,
        room_id: &str,
        user_id: &str,
        versions: &[String],
    ) -> Result<Template, ApiError> {
        let (reader, head) = self.peers.shared(origin, room_id)?;
        Self::check_version(head.room_version, versions)?;
        let mut content = Map::new();
        content.insert("membership".into(), json!("join"));
        match self.peers.rooms.authorise_restricted(&reader, head.root, user_id)? {
            Restricted::NotNeeded => {}
            Restricted::By(authoriser) => {
                content.insert("join_authorised_via_users_server".into(), json!(authoriser));
            }
            refused @ (Restricted::NobodyHere | Restricted::Unknown) => return Err(cannot_vouch(&refused).into()),
            Restricted::Refused => {
                return Err(ApiError::forbidden("The user is in none of the rooms whose members may join."));
            }
        }
        Ok(self.peers.template(room_id, NewEvent::state(user_id, "m.room.member", user_id, content)).await?)
    }

    async fn send_join(
        &self,
        origin: &str,
        room_id: &str,
        event_id: &str,
        event: RawJson,
        _omit_members: bool,
    ) -> Result<JoinAnswer, ApiError> {
        let join = self.take_member(origin, room_id, event_id, &event, Membership::Join).await?;
        Ok(self.peers.join_answer(room_id, &join).await?)
    }

    async fn make_leave(&self, origin: &str, room_id: &str, user_id: &str) -> Result<Template, ApiError> {
        self.peers.shared(origin, room_id)?;
        let content = crate::rooms::membership::content_with_reason(Membership::Leave, None);
        Ok(self.peers.template(room_id, NewEvent::state(user_id, "m.room.member", user_id, content)).await?)
    }

    async fn send_leave(&self, origin: &str, room_id: &str, event_id: &str, event: RawJson) -> Result<(), ApiError> {
        self.take_member(origin, room_id, event_id, &event, Membership::Leave).await?;
        Ok(())
    }

    async fn make_knock(
        &self,
        origin: &str,
        room_id: &str,
        user_id: &str,
        versions: &[String],
    ) -> Result<Template, ApiError> {
        let (_, head) = self.peers.shared(origin, room_id)?;
        Self::check_version(head.room_version, versions)?;
        let content = crate::rooms::membership::content_with_reason(Membership::Knock, None);
        Ok(self.peers.template(room_id, NewEvent::state(user_id, "m.room.member", user_id, content)).await?)
    }

    async fn send_knock(
        &self,
        origin: &str,
        room_id: &str,
        event_id: &str,
        event: RawJson,
    ) -> Result<Vec<RawJson>, ApiError> {
        self.take_member(origin, room_id, event_id, &event, Membership::Knock).await?;
        let (reader, head) = self.peers.shared(origin, room_id)?;
        let mut state = Vec::new();
        for kind in crate::sync::STRIPPED_TYPES {
            if let Some(event) = reader.state_event(head.root, kind, "").map_err(ApiError::from)? {
                state.push(RawJson::from_known(event.canonical().to_vec()));
            }
        }
        Ok(state)
    }

    async fn invite(&self, origin: &str, invite: InviteRequest) -> Result<RawJson, ApiError> {
        Ok(self.peers.on_invite(origin, invite).await?)
    }

    async fn backfill(
        &self,
        origin: &str,
        room_id: &str,
        from: &[String],
        limit: usize,
    ) -> Result<Vec<RawJson>, ApiError> {
        Ok(self.peers.backfill_answer(origin, room_id, from, limit)?)
    }

    async fn missing_events(
        &self,
        origin: &str,
        room_id: &str,
        request: MissingEventsRequest,
    ) -> Result<Vec<RawJson>, ApiError> {
        Ok(self.peers.missing_events_answer(origin, room_id, &request)?)
    }

    async fn state(&self, origin: &str, room_id: &str, event_id: &str) -> Result<StateAnswer, ApiError> {
        Ok(self.peers.state_answer(origin, room_id, event_id).await?)
    }

    async fn state_ids(&self, origin: &str, room_id: &str, event_id: &str) -> Result<StateIds, ApiError> {
        Ok(self.peers.state_ids_answer(origin, room_id, event_id).await?)
    }

    async fn event(&self, origin: &str, event_id: &str) -> Result<RawJson, ApiError> {
        Ok(self.peers.event_answer(origin, event_id)?)
    }

    async fn event_auth(&self, origin: &str, room_id: &str, event_id: &str) -> Result<Vec<RawJson>, ApiError> {
        Ok(self.peers.event_auth_answer(origin, room_id, event_id)?)
    }

    async fn event_at_time(
        &self,
        origin: &str,
        room_id: &str,
        ts: i64,
        direction: Direction,
    ) -> Result<EventAtTime, ApiError> {
        Ok(self.peers.event_at_time_answer(origin, room_id, ts, direction)?)
    }

    async fn profile(&self, _origin: &str, user_id: &str, field: Option<&str>) -> Result<Map<String, Value>, ApiError> {
        Ok(match field {
            Some(field) => self.accounts.profile_field(user_id, field)?,
            None => self.accounts.profile(user_id)?,
        })
    }

    async fn alias(&self, _origin: &str, alias: &str) -> Result<AliasAnswer, ApiError> {
        let found =
            self.peers.rooms.alias(alias)?.ok_or_else(|| ApiError::not_found(format!("There is no alias {alias}.")))?;
        let reader = self.peers.rooms.reader(RoomKey::of(&found.room_id));
        let mut servers = reader.servers().map_err(ApiError::from)?;
        let own = self.peers.server_name().to_owned();
        servers.retain(|server| *server != own);
        servers.insert(0, own);
        servers.truncate(50);
        Ok(AliasAnswer { room_id: found.room_id, servers })
    }

    async fn user_keys(&self, _origin: &str, request: DeviceKeyRequest) -> Result<UserKeys, ApiError> {
        Ok(self.keys.answer_user_keys(request)?)
    }

    async fn claim_keys(&self, _origin: &str, request: KeyClaimRequest) -> Result<ClaimedKeys, ApiError> {
        Ok(self.keys.answer_claim_keys(request).await?)
    }

    async fn user_devices(&self, _origin: &str, user_id: &str) -> Result<UserDevices, ApiError> {
        Ok(self.keys.answer_user_devices(user_id)?)
    }

    async fn public_rooms(&self, _origin: &str, request: PublicRoomsRequest) -> Result<Map<String, Value>, ApiError> {
        let query = DirectoryQuery {
            limit: request.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            since: request.since,
            search: request.search,
            room_types: request.room_types,
        };
        match serde_json::to_value(self.peers.rooms.directory(&query)?) {
            Ok(Value::Object(page)) => Ok(page),
            _ => Err(Error::internal("the directory could not be written as JSON").into()),
        }
    }

    async fn hierarchy(&self, origin: &str, room_id: &str, suggested_only: bool) -> Result<Hierarchy, ApiError> {
        self.peers.shared(origin, room_id)?;
        let missing = || ApiError::not_found(format!("{origin} cannot look into {room_id}."));
        let room = self.peers.describe_to(origin, room_id)?.ok_or_else(missing)?;
        let mut children = Vec::new();
        let mut inaccessible_children = Vec::new();
        for child in room.get("children_state").and_then(Value::as_array).into_iter().flatten() {
            let suggested = child.get("content").and_then(|content| content.get("suggested")).and_then(Value::as_bool)
                == Some(true);
            let Some(child_id) = child.get("state_key").and_then(Value::as_str) else { continue };
            if suggested_only && !suggested {
                continue;
            }
            match self.peers.describe_to(origin, child_id)? {
                Some(room) => children.push(room),
                None if self.peers.rooms.is_known(child_id)? => inaccessible_children.push(child_id.to_owned()),
                None => {}
            }
        }
        Ok(Hierarchy { room, children, inaccessible_children })
    }

    async fn exchange_third_party_invite(
        &self,
        _origin: &str,
        _room_id: &str,
        _event: RawJson,
    ) -> Result<(), ApiError> {
        Err(ApiError::unrecognized())
    }

    async fn openid_user(&self, access_token: &str) -> Result<String, ApiError> {
        if let Some(user_id) = crate::openid::redeem(self.peers.rooms.deps(), access_token)
            && self.accounts.is_active(&user_id)?
        {
            return Ok(user_id);
        }
        Err(ApiError::new(401, "M_UNKNOWN_TOKEN", "This server has issued no such OpenID token, or it has expired."))
    }
}
