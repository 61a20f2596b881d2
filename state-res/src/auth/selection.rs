//! Auth events selection: which state gives an event its right to be sent.

use serde_json::{Map, Value};

use super::views::Membership;
use crate::{
    pdu::Pdu,
    room_version::RoomVersion,
    switches::{Clause, on},
};

/// The (type, state key) pairs whose events belong into the `auth_events` of an event with these members, without
/// duplicates (server-server API, "Auth events selection"). Those that the room state has are to be cited.
///
/// What a malformed event would need but does not name properly is left out; the authorisation rules refuse the event.
pub fn auth_types<'a>(
    version: RoomVersion,
    event_type: &str,
    sender: &'a str,
    state_key: Option<&'a str>,
    content: &'a Map<String, Value>,
) -> Vec<(&'static str, &'a str)> {
    if event_type == "m.room.create" {
        return Vec::new();
    }
    let rules = &version.rules().auth;
    let mut types = Vec::with_capacity(6);
    // From version 12 the room id implies the create event.
    if rules.create_in_auth_events || !on(Clause::SelectCreate) {
        types.push(("m.room.create", ""));
    }
    if on(Clause::SelectPowerLevels) {
        types.push(("m.room.power_levels", ""));
    }
    if on(Clause::SelectSender) {
        types.push(("m.room.member", sender));
    }
    if event_type != "m.room.member" {
        return types;
    }
    let mut add = |pair| {
        if !types.contains(&pair) || !on(Clause::SelectOnce) {
            types.push(pair);
        }
    };
    if on(Clause::SelectTarget)
        && let Some(target) = state_key
    {
        add(("m.room.member", target));
    }
    let membership = Membership::in_content(content);
    let by_join_rules = matches!(membership, Membership::Join | Membership::Invite | Membership::Knock);
    if by_join_rules && on(Clause::SelectJoinRules) {
        add(("m.room.join_rules", ""));
    }
    if membership == Membership::Invite
        && on(Clause::SelectThirdPartyInvite)
        && let Some(invite) = content.get("third_party_invite")
        && let Some(token) = invite.get("signed").and_then(|signed| signed.get("token")).and_then(Value::as_str)
    {
        add(("m.room.third_party_invite", token));
    }
    if membership == Membership::Join
        && rules.restricted_joins
        && on(Clause::SelectAuthoriser)
        && let Some(authoriser) = authoriser(content)
    {
        add(("m.room.member", authoriser));
    }
    types
}

/// The (type, state key) pairs whose events decide whether an event is allowed: its [`auth_types`] and, in every
/// version, the create event. What [`check`](super::check) looks up is among them.
pub fn state_needed(event: &Pdu) -> Vec<(&'static str, &str)> {
    let mut types = auth_types(event.version(), event.event_type(), event.sender(), event.state_key(), event.content());
    if !event.version().rules().auth.create_in_auth_events && event.event_type() != "m.room.create" {
        types.push(("m.room.create", ""));
    }
    types
}

/// The user who vouches for a restricted join.
pub(super) fn authoriser(content: &Map<String, Value>) -> Option<&str> {
    content.get("join_authorised_via_users_server").and_then(Value::as_str)
}
