//! `POST /_matrix/client/v3/rooms/{roomId}/forget`: a room that was left is not shown any more.

use crate::frame::*;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
) -> Result<EmptyReply> {
    app.rooms.forget(&session.user_id, &room_id).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/forget", post(handle))
}
