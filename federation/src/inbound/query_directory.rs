//! `GET /query/directory`: the room that one of our aliases stands for.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};

use super::{Routes, Shared, reply, request::Signed};
use crate::ApiError;

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/query/directory", get(directory))
}

async fn directory(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let alias = request.parameters.required("room_alias")?;
    Ok(reply::value(&shared.inbound.answers.alias(&request.origin, alias).await?))
}
