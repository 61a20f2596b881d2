//! What answers a peer.

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::{
    ApiError, Edu, RawJson,
    types::{
        AliasAnswer, ClaimedKeys, DeviceKeyRequest, Direction, EventAtTime, Hierarchy, InviteRequest, JoinAnswer,
        KeyClaimRequest, MissingEventsRequest, PublicRoomsRequest, StateAnswer, StateIds, Template, TransactionAnswer,
        UserDevices, UserKeys,
    },
};

/// Answers the questions of other servers; the inbound routes ask it.
///
/// `origin` is the server name of the asker, whose signature has been verified. The routes have read the request into these
/// arguments and applied the protocol's own limits (sizes, counts, who a user id belongs to where the path says so). Everything about
/// rooms and users is up to the implementation: whether the room is known, whether the asker is in it, server ACLs (`M_FORBIDDEN` on
/// every method with a `room_id` that the specification lists), whether a user is local, the checks on received PDUs.
///
/// PDUs come as they were sent and go as they are given: [`RawJson`].
#[async_trait]
pub trait Answers: Send + Sync + 'static {
    /// `PUT /send/{txnId}`: at most 50 PDUs and 100 EDUs from `origin`.
    ///
    /// One transaction of an origin at a time, in the order they arrive; a replayed `txn_id` is answered from memory as long as that
    /// lasts, so an old one can come again after a restart. Unknown and malformed EDUs have been left out. A PDU that is refused is
    /// named in the answer with its reason and does not make the whole fail. An error makes the peer send all of it again.
    async fn transaction(
        &self,
        origin: &str,
        txn_id: &str,
        pdus: Vec<RawJson>,
        edus: Vec<Edu>,
    ) -> Result<TransactionAnswer, ApiError>;

    /// `GET /make_join/{roomId}/{userId}`: a join for `user_id` (of `origin`) to complete. `versions` are the room versions that the
    /// asker supports; [`ApiError::incompatible_room_version`] if the room's is not among them.
    async fn make_join(
        &self,
        origin: &str,
        room_id: &str,
        user_id: &str,
        versions: &[String],
    ) -> Result<Template, ApiError>;

    /// `PUT /send_join/{roomId}/{eventId}`: a signed join (a JSON object). With `omit_members`, membership events may be left out of the
    /// state.
    async fn send_join(
        &self,
        origin: &str,
        room_id: &str,
        event_id: &str,
        event: RawJson,
        omit_members: bool,
    ) -> Result<JoinAnswer, ApiError>;

    /// `GET /make_leave/{roomId}/{userId}`: a leave for `user_id` (of `origin`) to complete.
    async fn make_leave(&self, origin: &str, room_id: &str, user_id: &str) -> Result<Template, ApiError>;

    /// `PUT /send_leave/{roomId}/{eventId}`: a signed leave (a JSON object).
    async fn send_leave(&self, origin: &str, room_id: &str, event_id: &str, event: RawJson) -> Result<(), ApiError>;

    /// `GET /make_knock/{roomId}/{userId}`: a knock for `user_id` (of `origin`) to complete; versions as in [`Answers::make_join`].
    async fn make_knock(
        &self,
        origin: &str,
        room_id: &str,
        user_id: &str,
        versions: &[String],
    ) -> Result<Template, ApiError>;

    /// `PUT /send_knock/{roomId}/{eventId}`: a signed knock (a JSON object). Gives `knock_room_state`: PDUs with the create event.
    async fn send_knock(
        &self,
        origin: &str,
        room_id: &str,
        event_id: &str,
        event: RawJson,
    ) -> Result<Vec<RawJson>, ApiError>;

    /// `PUT /invite/{roomId}/{eventId}`: gives the invite with our signature added.
    async fn invite(&self, origin: &str, invite: InviteRequest) -> Result<RawJson, ApiError>;

    /// `GET /backfill/{roomId}`: the events `from` and what precedes them, at most `limit` (bounded by
    /// [`crate::limits::MAX_BACKFILL`]).
    async fn backfill(
        &self,
        origin: &str,
        room_id: &str,
        from: &[String],
        limit: usize,
    ) -> Result<Vec<RawJson>, ApiError>;

    /// `POST /get_missing_events/{roomId}`: what lies between the latest and the earliest events (limit bounded by
    /// [`crate::limits::MAX_MISSING_EVENTS`]).
    async fn missing_events(
        &self,
        origin: &str,
        room_id: &str,
        request: MissingEventsRequest,
    ) -> Result<Vec<RawJson>, ApiError>;

    /// `GET /state/{roomId}`: the state before an event.
    async fn state(&self, origin: &str, room_id: &str, event_id: &str) -> Result<StateAnswer, ApiError>;

    /// `GET /state_ids/{roomId}`: the same as ids.
    async fn state_ids(&self, origin: &str, room_id: &str, event_id: &str) -> Result<StateIds, ApiError>;

    /// `GET /event/{eventId}`: one event that `origin` may see.
    async fn event(&self, origin: &str, event_id: &str) -> Result<RawJson, ApiError>;

    /// `GET /event_auth/{roomId}/{eventId}`: the whole auth chain of an event.
    async fn event_auth(&self, origin: &str, room_id: &str, event_id: &str) -> Result<Vec<RawJson>, ApiError>;

    /// `GET /timestamp_to_event/{roomId}`: the event nearest to `ts` (milliseconds since the Unix epoch) in this direction.
    async fn event_at_time(
        &self,
        origin: &str,
        room_id: &str,
        ts: i64,
        direction: Direction,
    ) -> Result<EventAtTime, ApiError>;

    /// `GET /query/profile`: the profile of a local user, or the one field asked for.
    async fn profile(&self, origin: &str, user_id: &str, field: Option<&str>) -> Result<Map<String, Value>, ApiError>;

    /// `GET /query/directory`: what one of our aliases stands for.
    async fn alias(&self, origin: &str, alias: &str) -> Result<AliasAnswer, ApiError>;

    /// `POST /user/keys/query`: identity keys of local users' devices, and their cross-signing keys.
    async fn user_keys(&self, origin: &str, request: DeviceKeyRequest) -> Result<UserKeys, ApiError>;

    /// `POST /user/keys/claim`: one-time keys of local users' devices, each given out once.
    async fn claim_keys(&self, origin: &str, request: KeyClaimRequest) -> Result<ClaimedKeys, ApiError>;

    /// `GET /user/devices/{userId}`: the devices of a local user.
    async fn user_devices(&self, origin: &str, user_id: &str) -> Result<UserDevices, ApiError>;

    /// `GET` and `POST /publicRooms`: our published rooms, in the form of the client-server API's answer.
    async fn public_rooms(&self, origin: &str, request: PublicRoomsRequest) -> Result<Map<String, Value>, ApiError>;

    /// `GET /hierarchy/{roomId}`: a space and its children, as far as the asker could join or peek.
    async fn hierarchy(&self, origin: &str, room_id: &str, suggested_only: bool) -> Result<Hierarchy, ApiError>;

    /// `PUT /exchange_third_party_invite/{roomId}`: a partial `m.room.member` event (a JSON object) to complete and send as an invite.
    async fn exchange_third_party_invite(&self, origin: &str, room_id: &str, event: RawJson) -> Result<(), ApiError>;

    /// `GET /openid/userinfo`, which anyone may ask: the user who made this OpenID token; 401 `M_UNKNOWN_TOKEN` if nobody did.
    async fn openid_user(&self, access_token: &str) -> Result<String, ApiError>;
}
