//! `PUT /send_join/{roomId}/{eventId}`: a signed join.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::put};
use bytes::Bytes;

use super::{Routes, Shared, reply, request::Signed};
use crate::{ApiError, raw_json::ObjectWriter};

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/_matrix/federation/v1/send_join/{roomId}/{eventId}", put(version_1))
        .route("/_matrix/federation/v2/send_join/{roomId}/{eventId}", put(version_2))
}

async fn version_1(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    Ok(reply::wrapped(&send_join(&shared, &request).await?))
}

async fn version_2(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    Ok(reply::text(send_join(&shared, &request).await?))
}

async fn send_join(shared: &Shared, request: &Signed) -> Result<Bytes, ApiError> {
    let parameters = &request.parameters;
    let omit_members = parameters.flag("omit_members")?;
    let (room_id, event_id, event) = (parameters.room()?, parameters.event()?, request.object()?);
    let answer = shared.inbound.answers.send_join(&request.origin, room_id, event_id, event, omit_members).await?;
    let mut body = ObjectWriter::new()
        .value("members_omitted", &answer.members_omitted)
        .maybe("servers_in_room", answer.servers_in_room.as_ref())
        .list("state", &answer.state)
        .list("auth_chain", &answer.auth_chain);
    if let Some(event) = &answer.event {
        body = body.raw("event", event.as_bytes());
    }
    Ok(body.finish())
}
