//! `POST /get_missing_events/{roomId}`: events that the asker is missing.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::post};

use super::{Routes, Shared, reply, request::Signed};
use crate::{
    ApiError,
    limits::{MAX_EVENT_IDS, MAX_MISSING_EVENTS},
    raw_json::ObjectWriter,
    types::MissingEventsRequest,
};

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/get_missing_events/{roomId}", post(get_missing_events))
}

async fn get_missing_events(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let mut question: MissingEventsRequest = request.json()?;
    if question.earliest_events.len() + question.latest_events.len() > MAX_EVENT_IDS {
        return Err(ApiError::invalid_param(format!(
            "`earliest_events` and `latest_events` have more than {MAX_EVENT_IDS} event ids."
        )));
    }
    question.limit = question.limit.min(MAX_MISSING_EVENTS);
    let room_id = request.parameters.room()?;
    let events = shared.inbound.answers.missing_events(&request.origin, room_id, question).await?;
    Ok(reply::text(ObjectWriter::new().list("events", &events).finish()))
}
