//! `GET /make_leave/{roomId}/{userId}`: a leave for the asker's user to complete.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};

use super::{Routes, Shared, make_join::reply, request::Signed};
use crate::ApiError;

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/make_leave/{roomId}/{userId}", get(make_leave))
}

async fn make_leave(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let room_id = request.parameters.room()?;
    let user_id = request.own_user("userId")?;
    Ok(reply(&shared.inbound.answers.make_leave(&request.origin, room_id, user_id).await?))
}
