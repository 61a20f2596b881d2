//! `GET /_matrix/client/v3/rooms/{roomId}/initialSync`: a room as it is now, for whoever looks into it.

use crate::frame::*;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
) -> Result<RawReply> {
    Ok(RawReply(app.peers.initial_sync(&session.user_id, &session.device_id, &room_id)?.into()))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/initialSync", get(handle))
}
