//! `PUT /invite/{roomId}/{eventId}`: an invite for one of our users, to sign.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::put};
use serde::Deserialize;

use super::{Routes, Shared, reply, request::Signed};
use crate::{ApiError, RawJson, raw_json::ObjectWriter, types::InviteRequest};

/// The most state events that an invite may carry along.
const MAX_INVITE_STATE: usize = 100;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/_matrix/federation/v1/invite/{roomId}/{eventId}", put(version_1))
        .route("/_matrix/federation/v2/invite/{roomId}/{eventId}", put(version_2))
}

/// Version 2: the room's version, the event and the state beside each other.
#[derive(Deserialize)]
struct Body {
    room_version: String,
    event: RawJson,
    #[serde(default)]
    invite_room_state: Vec<RawJson>,
}

/// Version 1: the event itself, with the state in `unsigned`.
#[derive(Deserialize)]
struct EventBody {
    #[serde(default)]
    unsigned: Unsigned,
}

#[derive(Default, Deserialize)]
struct Unsigned {
    #[serde(default)]
    invite_room_state: Vec<RawJson>,
}

async fn version_2(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let body: Body = request.json()?;
    let answer = invite(&shared, &request, body).await?;
    Ok(reply::text(ObjectWriter::new().raw("event", answer.as_bytes()).finish()))
}

async fn version_1(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let event = request.object()?;
    let state = request.json::<EventBody>()?.unsigned.invite_room_state;
    // Only room versions 1 and 2, whose events have one format, are invited to in this way.
    let body = Body { room_version: "1".to_owned(), event, invite_room_state: state };
    let answer = invite(&shared, &request, body).await?;
    Ok(reply::wrapped(&ObjectWriter::new().raw("event", answer.as_bytes()).finish()))
}

async fn invite(shared: &Shared, request: &Signed, body: Body) -> Result<RawJson, ApiError> {
    if !body.event.is_object() {
        return Err(ApiError::bad_json("`event` is not a JSON object."));
    }
    if body.invite_room_state.len() > MAX_INVITE_STATE {
        return Err(ApiError::bad_json(format!("`invite_room_state` has more than {MAX_INVITE_STATE} events.")));
    }
    let invite = InviteRequest {
        room_id: request.parameters.room()?.to_owned(),
        event_id: request.parameters.event()?.to_owned(),
        room_version: body.room_version,
        event: body.event,
        invite_room_state: body.invite_room_state,
    };
    shared.inbound.answers.invite(&request.origin, invite).await
}
