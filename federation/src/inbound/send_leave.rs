//! `PUT /send_leave/{roomId}/{eventId}`: a signed leave.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::put};

use super::{Routes, Shared, reply, request::Signed};
use crate::ApiError;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/_matrix/federation/v1/send_leave/{roomId}/{eventId}", put(version_1))
        .route("/_matrix/federation/v2/send_leave/{roomId}/{eventId}", put(version_2))
}

async fn version_1(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    send_leave(&shared, &request).await?;
    Ok(reply::wrapped(b"{}"))
}

async fn version_2(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    send_leave(&shared, &request).await?;
    Ok(reply::empty())
}

async fn send_leave(shared: &Shared, request: &Signed) -> Result<(), ApiError> {
    let parameters = &request.parameters;
    let (room_id, event_id, event) = (parameters.room()?, parameters.event()?, request.object()?);
    shared.inbound.answers.send_leave(&request.origin, room_id, event_id, event).await
}
