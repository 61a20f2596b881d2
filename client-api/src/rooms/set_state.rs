//! `PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`: sets state. The state key may be left out for
//! the empty one, with or without the slash before it.

use crate::frame::*;
use serde_json::{Map, Value};

#[derive(Serialize)]
pub(super) struct Response {
    event_id: String,
}

pub(super) async fn with_key(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((room_id, event_type, state_key)): Path<(RoomId, String, String)>,
    Json(content): Json<Map<String, Value>>,
) -> Result<Reply<Response>> {
    let event_id = app.peers.set_state(&session.user_id, &room_id, &event_type, &state_key, content).await?;
    Ok(Reply(Response { event_id }))
}

pub(super) async fn without_key(
    state: State<App>,
    session: Authenticated,
    Path((room_id, event_type)): Path<(RoomId, String)>,
    content: Json<Map<String, Value>>,
) -> Result<Reply<Response>> {
    with_key(state, session, Path((room_id, event_type, String::new())), content).await
}

pub(crate) fn route(router: Router) -> Router {
    let router = V3.at(router, "/rooms/{room_id}/state/{event_type}/{state_key}", put(with_key));
    let router = V3.at(router, "/rooms/{room_id}/state/{event_type}/", put(without_key));
    V3.at(router, "/rooms/{room_id}/state/{event_type}", put(without_key))
}
