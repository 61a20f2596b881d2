//! The rules on an event's `auth_events`, and on the signature of whoever vouches for a restricted join.

use super::{Refusal, auth_types, rule::Rule, selection::authoriser, switches::decides};
use crate::{ids::server_of, pdu::Pdu};

/// An event that another one cites, and its standing.
#[derive(Clone, Copy, Debug)]
pub struct Cited<'a> {
    /// The event.
    pub event: &'a Pdu,
    /// Whether it was itself rejected (not: soft-failed) under the checks on receipt of a PDU.
    pub rejected: bool,
}

/// The rules on the list of `auth_events`: rule 2 of room versions 1 to 11, rules 2 and 3 of version 12. They do not
/// depend on any state, so they are checked once.
///
/// `cited` are the events that `event.auth_events()` names, each as often as it is named; that all of them are there is
/// the caller's care. `create` matters from version 12 on: the event whose id is the room id with `$` for `!`, if the
/// server has it. A create event itself has no auth events and passes.
///
/// # Errors
/// The rule that does not allow the event.
pub fn check_auth_events(event: &Pdu, cited: &[Cited<'_>], create: Option<Cited<'_>>) -> Result<(), Refusal> {
    if event.event_type() == "m.room.create" {
        return Ok(());
    }
    let version = event.version();
    let auth = &version.rules().auth;
    let reject_if = |rule: Rule, holds: bool, because: &dyn Fn() -> String| {
        if decides(rule, holds) { Err(Refusal::by(rule, version, because())) } else { Ok(()) }
    };

    // 12: rule 2.
    let accepted = |create: &Cited<'_>| {
        create.event.event_type() == "m.room.create" && create.event.room_id() == event.room_id() && !create.rejected
    };
    reject_if(Rule::RoomIdOfCreate, !auth.create_in_auth_events && !create.as_ref().is_some_and(accepted), &|| {
        format!("the room id {} is not that of an accepted `m.room.create` event", event.room_id())
    })?;

    // 1 to 11: 2.1. 12: 3.1.
    let place = |cited: &Cited<'_>| (cited.event.event_type().to_owned(), cited.event.state_key().map(str::to_owned));
    for (at, one) in cited.iter().enumerate() {
        let twice = cited[..at].iter().any(|before| place(before) == place(one));
        reject_if(Rule::AuthDuplicate, twice, &|| {
            format!("the auth events have two of type `{}` with one state key", one.event.event_type())
        })?;
    }

    // 1 to 11: 2.2. 12: 3.2.
    let expected = auth_types(version, event.event_type(), event.sender(), event.state_key(), event.content());
    for one in cited {
        let wanted = one.event.state_key().is_some_and(|key| expected.contains(&(one.event.event_type(), key)));
        reject_if(Rule::AuthUnexpected, !wanted, &|| {
            format!(
                "{} of type `{}` does not belong into the auth events",
                one.event.event_id(),
                one.event.event_type()
            )
        })?;
    }

    // 1 to 11: 2.3. 12: 3.3.
    for one in cited {
        reject_if(Rule::AuthRejected, one.rejected, &|| {
            format!("the auth event {} was itself rejected", one.event.event_id())
        })?;
    }

    // 1 to 11: 2.4.
    let has_create = cited.iter().any(|one| one.event.event_type() == "m.room.create");
    reject_if(Rule::AuthNoCreate, auth.create_in_auth_events && !has_create, &|| {
        "there is no `m.room.create` event among the auth events".to_owned()
    })?;

    // 1 to 11: 2.5. 12: 3.4.
    for one in cited {
        reject_if(Rule::AuthOtherRoom, one.event.room_id() != event.room_id(), &|| {
            format!("the auth event {} is of another room, {}", one.event.event_id(), one.event.room_id())
        })?;
    }
    Ok(())
}

/// Rule 4.2.1 of versions 8 to 11, 5.2.1 of version 12: a membership event that names someone who vouches for the user
/// (`join_authorised_via_users_server`) is signed by that user's server. Other versions and events pass.
///
/// `signed_by` tells whether a server's signature on the event has been verified.
///
/// # Errors
/// The rule, if that signature is not there.
pub fn check_authoriser_signature(event: &Pdu, signed_by: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    let rule = Rule::MemberAuthoriserSignature;
    let named = event.event_type() == "m.room.member"
        && event.version().rules().auth.restricted_joins
        && event.content().contains_key("join_authorised_via_users_server");
    let signed = || authoriser(event.content()).and_then(server_of).is_some_and(signed_by);
    if named && decides(rule, !signed()) {
        let because = "the server of `join_authorised_via_users_server` has not signed the event";
        return Err(Refusal::by(rule, event.version(), because));
    }
    Ok(())
}
