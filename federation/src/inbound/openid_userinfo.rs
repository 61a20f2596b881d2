//! `GET /openid/userinfo`: who made an OpenID token. Anyone may ask.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};
use serde_json::json;

use super::{Routes, Shared, reply, request::Unsigned};
use crate::ApiError;

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/openid/userinfo", get(userinfo))
}

async fn userinfo(State(shared): State<Arc<Shared>>, request: Unsigned) -> Result<Response, ApiError> {
    let token = request.parameters.required("access_token")?;
    let user_id = shared.inbound.answers.openid_user(token).await?;
    Ok(reply::value(&json!({ "sub": user_id })))
}
