//! `GET /_matrix/client/v3/rooms/{roomId}/joined_members`: who is in the room, with names and pictures.

use crate::frame::*;
use serde_json::Value;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
) -> Result<Reply<Value>> {
    Ok(Reply(app.peers.joined_members(&session.user_id, &room_id)?))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/joined_members", get(handle))
}
