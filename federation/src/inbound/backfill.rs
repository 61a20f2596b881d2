//! `GET /backfill/{roomId}`: the events which precede the given ones.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};

use super::{Routes, Shared, reply, request::Signed};
use crate::{
    ApiError,
    limits::{MAX_BACKFILL, MAX_EVENT_IDS},
};

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/backfill/{roomId}", get(backfill))
}

async fn backfill(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let parameters = &request.parameters;
    let from = parameters.all("v");
    if from.is_empty() {
        return Err(ApiError::missing_param("The query parameter `v` is missing."));
    }
    if from.len() > MAX_EVENT_IDS {
        return Err(ApiError::invalid_param(format!("There are more than {MAX_EVENT_IDS} events to go back from.")));
    }
    let limit: usize = parameters
        .number("limit")?
        .ok_or_else(|| ApiError::missing_param("The query parameter `limit` is missing."))?;
    let inbound = &shared.inbound;
    let pdus = inbound.answers.backfill(&request.origin, parameters.room()?, &from, limit.min(MAX_BACKFILL)).await?;
    Ok(reply::transaction(&inbound.keys.own().server_name, inbound.world.now(), &pdus))
}
