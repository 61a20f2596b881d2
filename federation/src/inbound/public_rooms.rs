//! `GET` and `POST /publicRooms`: our published rooms.

use std::sync::Arc;

use axum::{extract::State, response::Response, routing::get};
use serde::Deserialize;

use super::{Routes, Shared, reply, request::Signed};
use crate::{ApiError, types::PublicRoomsRequest};

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/publicRooms", get(list).post(search))
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    limit: Option<u64>,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    filter: Option<Filter>,
    #[serde(default)]
    include_all_networks: Option<bool>,
    #[serde(default)]
    third_party_instance_id: Option<String>,
}

#[derive(Default, Deserialize)]
struct Filter {
    #[serde(default)]
    generic_search_term: Option<String>,
    #[serde(default)]
    room_types: Option<Vec<Option<String>>>,
}

async fn list(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let parameters = &request.parameters;
    let question = PublicRoomsRequest {
        // 0 means no limit here.
        limit: parameters.number("limit")?.filter(|limit| *limit > 0),
        since: parameters.query("since").map(str::to_owned),
        include_all_networks: parameters.flag("include_all_networks")?,
        third_party_instance_id: parameters.query("third_party_instance_id").map(str::to_owned),
        ..PublicRoomsRequest::default()
    };
    answer(&shared, &request.origin, question).await
}

async fn search(State(shared): State<Arc<Shared>>, request: Signed) -> Result<Response, ApiError> {
    let body: Body = request.json()?;
    let filter = body.filter.unwrap_or_default();
    let question = PublicRoomsRequest {
        limit: body.limit,
        since: body.since,
        search: filter.generic_search_term,
        room_types: filter.room_types,
        include_all_networks: body.include_all_networks.unwrap_or_default(),
        third_party_instance_id: body.third_party_instance_id,
    };
    answer(&shared, &request.origin, question).await
}

async fn answer(shared: &Shared, origin: &str, question: PublicRoomsRequest) -> Result<Response, ApiError> {
    if question.include_all_networks && question.third_party_instance_id.is_some() {
        return Err(ApiError::invalid_param("`third_party_instance_id` cannot be used with `include_all_networks`."));
    }
    Ok(reply::value(&shared.inbound.answers.public_rooms(origin, question).await?))
}
