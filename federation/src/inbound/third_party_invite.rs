//! `PUT /exchange_third_party_invite/{roomId}`: an invite by e-mail address that has found its user.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::put};

use super::{Routes, Shared, reply, request::Signed};
use crate::ApiError;

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/exchange_third_party_invite/{roomId}", put(exchange))
}

async fn exchange(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let (room_id, event) = (request.parameters.room()?, request.object()?);
    shared.inbound.answers.exchange_third_party_invite(&request.origin, room_id, event).await?;
    Ok(reply::empty())
}
