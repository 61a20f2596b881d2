//! `GET /_matrix/client/v3/rooms/{roomId}/state`: all state, current or as it was when the user left.

use crate::frame::*;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
) -> Result<RawReply> {
    Ok(RawReply(app.peers.state(&session.user_id, &session.device_id, &room_id)?.into()))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/state", get(handle))
}
