//! `POST /_matrix/client/v3/rooms/{roomId}/leave`: leaves a room, turns an invite down, takes a knock back.

use crate::frame::*;

#[derive(Deserialize)]
struct Request {
    reason: Option<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
    Json(request): Json<Request>,
) -> Result<EmptyReply> {
    app.peers.leave_room(&session.user_id, &room_id, request.reason.as_deref()).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/leave", post(handle))
}
