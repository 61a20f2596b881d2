//! `GET /user/devices/{userId}`: the devices of one of our users.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};

use super::{Routes, Shared, reply, request::Signed};
use crate::ApiError;

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/user/devices/{userId}", get(user_devices))
}

async fn user_devices(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let user_id = request.parameters.user("userId")?;
    Ok(reply::value(&shared.inbound.answers.user_devices(&request.origin, user_id).await?))
}
