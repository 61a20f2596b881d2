//! `GET /query/profile`: the profile of one of our users.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};

use super::{Routes, Shared, reply, request::Signed};
use crate::ApiError;

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/query/profile", get(profile))
}

async fn profile(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let parameters = &request.parameters;
    let (user_id, field) = (parameters.required("user_id")?, parameters.query("field"));
    Ok(reply::value(&shared.inbound.answers.profile(&request.origin, user_id, field).await?))
}
