//! `GET /version`: what we are. Anyone may ask.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};
use serde_json::json;

use super::{Routes, Shared, reply};

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/version", get(version))
}

async fn version(State(shared): State<Arc<Shared>>) -> Response {
    reply::value(&json!({ "server": shared.inbound.version }))
}
