//! `GET /state/{roomId}`: the state of a room at an event.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};

use super::{Routes, Shared, reply, request::Signed};
use crate::{ApiError, raw_json::ObjectWriter};

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/state/{roomId}", get(state))
}

async fn state(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let parameters = &request.parameters;
    let (room_id, event_id) = (parameters.room()?, parameters.required("event_id")?);
    let state = shared.inbound.answers.state(&request.origin, room_id, event_id).await?;
    Ok(reply::text(ObjectWriter::new().list("auth_chain", &state.auth_chain).list("pdus", &state.pdus).finish()))
}
