//! `GET /make_knock/{roomId}/{userId}`: a knock for the asker's user to complete.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};

use super::{
    Routes, Shared,
    make_join::{reply, versions},
    request::Signed,
};
use crate::ApiError;

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/make_knock/{roomId}/{userId}", get(make_knock))
}

async fn make_knock(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let room_id = request.parameters.room()?;
    let user_id = request.own_user("userId")?;
    let versions = versions(&request)?;
    if versions.is_empty() {
        return Err(ApiError::missing_param("The query parameter `ver` is missing."));
    }
    Ok(reply(&shared.inbound.answers.make_knock(&request.origin, room_id, user_id, &versions).await?))
}
