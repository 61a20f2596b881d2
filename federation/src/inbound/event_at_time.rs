//! `GET /timestamp_to_event/{roomId}`: the event closest to a time.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};

use super::{Routes, Shared, reply, request::Signed};
use crate::{ApiError, types::Direction};

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/timestamp_to_event/{roomId}", get(event_at_time))
}

async fn event_at_time(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let parameters = &request.parameters;
    let ts: i64 =
        parameters.number("ts")?.ok_or_else(|| ApiError::missing_param("The query parameter `ts` is missing."))?;
    let direction = match parameters.required("dir")? {
        "f" => Direction::Forwards,
        "b" => Direction::Backwards,
        _ => return Err(ApiError::invalid_param("The query parameter `dir` is neither `f` nor `b`.")),
    };
    let event = shared.inbound.answers.event_at_time(&request.origin, parameters.room()?, ts, direction).await?;
    Ok(reply::value(&event))
}
