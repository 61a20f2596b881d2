//! `GET /_matrix/key/v2/query/{serverName}` and `POST /_matrix/key/v2/query`: other servers' keys, with our signature as a notary. Not
//! signed by the asker.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    response::Response,
    routing::{get, post},
};
use net::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::{Routes, Shared, reply, request::Unsigned};
use crate::{ApiError, ids::is_server_name, keys::MAX_NOTARY_SERVERS};

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/key/v2/query", post(several)).route("/_matrix/key/v2/query/{serverName}", get(one))
}

#[derive(Deserialize)]
struct Body {
    server_keys: BTreeMap<String, BTreeMap<String, Criteria>>,
}

#[derive(Deserialize)]
struct Criteria {
    #[serde(default)]
    minimum_valid_until_ts: Option<u64>,
}

async fn one(State(shared): State<Arc<Shared>>, request: Unsigned) -> Result<Response, ApiError> {
    let server_name = request.parameters.path("serverName")?;
    if !is_server_name(server_name) {
        return Err(ApiError::invalid_param("`serverName` in the path is not a server name."));
    }
    let until = request.parameters.number("minimum_valid_until_ts")?;
    answer(&shared, BTreeMap::from([(server_name.to_owned(), until)])).await
}

async fn several(State(shared): State<Arc<Shared>>, request: Unsigned) -> Result<Response, ApiError> {
    let body: Body = request.json()?;
    if body.server_keys.len() > MAX_NOTARY_SERVERS {
        return Err(ApiError::invalid_param(format!("`server_keys` has more than {MAX_NOTARY_SERVERS} servers.")));
    }
    let latest =
        |keys: BTreeMap<String, Criteria>| keys.into_values().filter_map(|key| key.minimum_valid_until_ts).max();
    answer(&shared, body.server_keys.into_iter().map(|(server, keys)| (server, latest(keys))).collect()).await
}

async fn answer(shared: &Shared, wanted: BTreeMap<String, Option<u64>>) -> Result<Response, ApiError> {
    let now = shared.inbound.world.now();
    let wanted = wanted.into_iter().map(|(server, until)| (server, until.map_or(now, Timestamp::from_millis)));
    let documents = shared.inbound.keys.notarise(wanted.collect()).await;
    Ok(reply::value(&json!({ "server_keys": documents })))
}
