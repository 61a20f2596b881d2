//! `DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`: takes a tag from a room.

use crate::frame::*;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((user_id, room_id, tag)): Path<(String, String, String)>,
) -> Result<EmptyReply> {
    session.must_be(&user_id)?;
    app.accounts.remove_tag(&user_id, &room_id, &tag).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/user/{user_id}/rooms/{room_id}/tags/{tag}", delete(handle))
}
