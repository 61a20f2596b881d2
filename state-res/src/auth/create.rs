//! Rule 1: `m.room.create`.

use serde_json::Value;

use super::{Refusal, rule::Rule, switches::decides};
use crate::{
    ids::{is_valid_user_id, server_of},
    pdu::Pdu,
    room_version::RoomVersion,
};

/// Whether the rules allow a create event, and which one does.
pub(super) fn check(event: &Pdu) -> Result<Rule, Refusal> {
    let version = event.version();
    let auth = &version.rules().auth;
    let reject_if = |rule: Rule, holds: bool, because: &str| {
        let refusal = || Refusal::by(rule, version, because);
        if decides(rule, holds) { Err(refusal()) } else { Ok(()) }
    };

    // 1.1
    reject_if(
        Rule::CreatePrevEvents,
        !event.prev_events().is_empty(),
        "`m.room.create` begins a room and so has no previous events",
    )?;
    if version.rules().create_event_is_room_id {
        // 12: 1.2
        reject_if(
            Rule::CreateRoomIdPresent,
            event.has_room_id(),
            "`m.room.create` has a `room_id`, which is to follow from its hash",
        )?;
    } else {
        // 1 to 11: 1.2
        let domain = server_of(event.room_id());
        reject_if(
            Rule::CreateRoomIdDomain,
            domain.is_none() || domain != server_of(event.sender()),
            "the room id is not of the server of the sender",
        )?;
    }
    // 1.3
    reject_if(
        Rule::CreateRoomVersion,
        event.content().get("room_version").is_some_and(|version| !is_recognised(version)),
        "`room_version` in the content is not a room version that is known here",
    )?;
    if auth.creator_in_content {
        // 1 to 10: 1.4
        reject_if(Rule::CreateCreator, !event.content().contains_key("creator"), "the content has no `creator`")?;
    }
    if auth.privileged_creators {
        // 12: 1.4
        reject_if(
            Rule::CreateAdditionalCreators,
            event.content().get("additional_creators").is_some_and(|list| !is_user_id_list(list)),
            "`additional_creators` is not a list of user ids",
        )?;
    }
    // 11: 1.4. Others: 1.5
    reject_if_off(Rule::CreateAllow, version)?;
    Ok(Rule::CreateAllow)
}

/// "Otherwise, allow."
fn reject_if_off(rule: Rule, version: RoomVersion) -> Result<(), Refusal> {
    if decides(rule, true) { Ok(()) } else { Err(Refusal::by(rule, version, "the rule is switched off")) }
}

fn is_recognised(version: &Value) -> bool {
    version.as_str().is_some_and(|version| version.parse::<RoomVersion>().is_ok())
}

fn is_user_id_list(list: &Value) -> bool {
    list.as_array().is_some_and(|list| list.iter().all(|id| id.as_str().is_some_and(is_valid_user_id)))
}
