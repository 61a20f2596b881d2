//! `GET /state_ids/{roomId}`: the state of a room at an event, as event ids.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};

use super::{Routes, Shared, reply, request::Signed};
use crate::ApiError;

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/state_ids/{roomId}", get(state_ids))
}

async fn state_ids(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let parameters = &request.parameters;
    let (room_id, event_id) = (parameters.room()?, parameters.required("event_id")?);
    Ok(reply::value(&shared.inbound.answers.state_ids(&request.origin, room_id, event_id).await?))
}
