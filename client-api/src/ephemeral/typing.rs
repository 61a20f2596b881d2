//! `PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}`: the user types, or has stopped.

use crate::frame::*;
use std::time::Duration;

#[derive(Deserialize)]
struct Request {
    typing: bool,
    /// Milliseconds.
    timeout: Option<u64>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((room_id, user_id)): Path<(RoomId, UserId)>,
    Json(request): Json<Request>,
) -> Result<EmptyReply> {
    session.must_be(&user_id)?;
    let timeout = request.timeout.map(Duration::from_millis);
    app.set_typing(&user_id, &room_id, request.typing, timeout)?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/typing/{user_id}", put(handle))
}
