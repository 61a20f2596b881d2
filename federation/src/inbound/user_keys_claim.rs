//! `POST /user/keys/claim`: one-time keys of our users' devices.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::post};
use serde::Deserialize;

use super::{Routes, Shared, reply, request::Signed};
use crate::{ApiError, types::KeyClaimRequest};

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/user/keys/claim", post(claim))
}

#[derive(Deserialize)]
struct Body {
    one_time_keys: KeyClaimRequest,
}

async fn claim(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let body: Body = request.json()?;
    Ok(reply::value(&shared.inbound.answers.claim_keys(&request.origin, body.one_time_keys).await?))
}
