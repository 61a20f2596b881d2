//! `POST /_matrix/client/v3/rooms/{roomId}/ban`: bars a user from a room.

use super::Target;
use crate::frame::*;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
    Json(target): Json<Target>,
) -> Result<EmptyReply> {
    app.rooms.ban(&session.user_id, &room_id, &target.user_id, target.reason.as_deref()).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/ban", post(handle))
}
