//! `GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags`: the tags that the user has given to a room.

use crate::frame::*;
use serde_json::Value;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((user_id, room_id)): Path<(String, String)>,
) -> Result<Reply<Value>> {
    session.must_be(&user_id)?;
    Ok(Reply(app.accounts.tags(&user_id, &room_id)?))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/user/{user_id}/rooms/{room_id}/tags", get(handle))
}
