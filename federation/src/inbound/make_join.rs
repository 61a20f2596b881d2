//! `GET /make_join/{roomId}/{userId}`: a join for the asker's user to complete.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};

use super::{Routes, Shared, reply, request::Signed};
use crate::{ApiError, raw_json::ObjectWriter, types::Template};

/// The most room versions that an asker may list.
const MAX_VERSIONS: usize = 100;

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/make_join/{roomId}/{userId}", get(make_join))
}

async fn make_join(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let room_id = request.parameters.room()?;
    let user_id = request.own_user("userId")?;
    let mut versions = versions(&request)?;
    if versions.is_empty() {
        versions.push("1".to_owned());
    }
    let template = shared.inbound.answers.make_join(&request.origin, room_id, user_id, &versions).await?;
    Ok(reply(&template))
}

/// The room versions that the asker supports.
pub(super) fn versions(request: &Signed) -> Result<Vec<String>, ApiError> {
    let versions = request.parameters.all("ver");
    if versions.len() > MAX_VERSIONS {
        return Err(ApiError::invalid_param(format!(
            "The query parameter `ver` is there more than {MAX_VERSIONS} times."
        )));
    }
    Ok(versions)
}

/// The answer to this and its siblings.
pub(super) fn reply(template: &Template) -> Response {
    let body = ObjectWriter::new().maybe("room_version", template.room_version.as_deref());
    reply::text(body.raw("event", template.event.as_bytes()).finish())
}
