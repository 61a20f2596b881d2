//! `GET /event/{eventId}`: one event.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};

use super::{Routes, Shared, reply, request::Signed};
use crate::ApiError;

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/event/{eventId}", get(event))
}

async fn event(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let inbound = &shared.inbound;
    let pdu = inbound.answers.event(&request.origin, request.parameters.event()?).await?;
    Ok(reply::transaction(&inbound.keys.own().server_name, inbound.world.now(), [&pdu]))
}
