//! Joining, leaving, knocking, inviting.

use serde::Deserialize;

use crate::RawJson;

/// Answer to `make_join`, `make_leave` and `make_knock`: an event for the asker to complete and sign.
#[derive(Clone, Debug, Deserialize)]
pub struct Template {
    /// The room's version; from a peer that says none, version 1 or 2.
    #[serde(default)]
    pub room_version: Option<String>,
    /// The unsigned event.
    pub event: RawJson,
}

/// Answer to `send_join` (version 2).
#[derive(Clone, Debug, Deserialize)]
pub struct JoinAnswer {
    /// The join as sent to the room, with the resident server's signature; required for restricted joins.
    #[serde(default)]
    pub event: Option<RawJson>,
    /// The state before the join.
    #[serde(deserialize_with = "crate::crowded::pdus")]
    pub state: Vec<RawJson>,
    /// The auth chains of the join and of the state.
    #[serde(deserialize_with = "crate::crowded::pdus")]
    pub auth_chain: Vec<RawJson>,
    /// Whether membership events are left out of `state`.
    #[serde(default)]
    pub members_omitted: bool,
    /// The servers in the room before the join; required if members are left out.
    #[serde(default, deserialize_with = "crate::crowded::servers")]
    pub servers_in_room: Option<Vec<String>>,
}

/// An invite, for the invited user's server to check and sign.
#[derive(Clone, Debug)]
pub struct InviteRequest {
    /// The room, as in the path.
    pub room_id: String,
    /// The event's id, as in the path.
    pub event_id: String,
    /// The room's version; `1` where an old peer used version 1 of this endpoint, which serves room versions 1 and 2.
    pub room_version: String,
    /// The invite event, signed by the inviter's server.
    pub event: RawJson,
    /// State by which the invited user can know the room; full PDUs, or stripped ones from older servers.
    pub invite_room_state: Vec<RawJson>,
}
