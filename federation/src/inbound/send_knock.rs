//! `PUT /send_knock/{roomId}/{eventId}`: a signed knock.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::put};

use super::{Routes, Shared, reply, request::Signed};
use crate::{ApiError, raw_json::ObjectWriter};

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/send_knock/{roomId}/{eventId}", put(send_knock))
}

async fn send_knock(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let parameters = &request.parameters;
    let (room_id, event_id, event) = (parameters.room()?, parameters.event()?, request.object()?);
    let state = shared.inbound.answers.send_knock(&request.origin, room_id, event_id, event).await?;
    Ok(reply::text(ObjectWriter::new().list("knock_room_state", &state).finish()))
}
