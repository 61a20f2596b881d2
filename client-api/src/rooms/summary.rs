//! `GET /_matrix/client/v1/room_summary/{roomIdOrAlias}`: what a room shows of itself to someone who may join it.

use crate::frame::*;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Parameters {
    #[serde(default)]
    via: Vec<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Reply<Map<String, Value>>> {
    Ok(Reply(app.peers.room_summary(&session.user_id, &room, &parameters.via).await?))
}

pub(crate) fn route(router: Router) -> Router {
    V1.at(router, "/room_summary/{room_id_or_alias}", get(handle))
}
