//! `POST /user/keys/query`: identity keys of our users' devices.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::post};
use serde::Deserialize;

use super::{Routes, Shared, reply, request::Signed};
use crate::{ApiError, types::DeviceKeyRequest};

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/user/keys/query", post(query))
}

#[derive(Deserialize)]
struct Body {
    device_keys: DeviceKeyRequest,
}

async fn query(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let body: Body = request.json()?;
    Ok(reply::value(&shared.inbound.answers.user_keys(&request.origin, body.device_keys).await?))
}
