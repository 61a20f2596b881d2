//! `GET /hierarchy/{roomId}`: a space and its children.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};

use super::{Routes, Shared, reply, request::Signed};
use crate::ApiError;

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/hierarchy/{roomId}", get(hierarchy))
}

async fn hierarchy(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let parameters = &request.parameters;
    let suggested_only = parameters.flag("suggested_only")?;
    let hierarchy = shared.inbound.answers.hierarchy(&request.origin, parameters.room()?, suggested_only).await?;
    Ok(reply::value(&hierarchy))
}
