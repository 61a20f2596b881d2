//! `GET /event_auth/{roomId}/{eventId}`: the auth chain of an event.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};

use super::{Routes, Shared, reply, request::Signed};
use crate::{ApiError, raw_json::ObjectWriter};

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/event_auth/{roomId}/{eventId}", get(event_auth))
}

async fn event_auth(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let parameters = &request.parameters;
    let chain = shared.inbound.answers.event_auth(&request.origin, parameters.room()?, parameters.event()?).await?;
    Ok(reply::text(ObjectWriter::new().list("auth_chain", &chain).finish()))
}
