//! `POST /_matrix/client/v3/rooms/{roomId}/unban`: lets a user back in.

use crate::frame::*;

#[derive(Deserialize)]
struct Request {
    user_id: String,
    reason: Option<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
    Json(request): Json<Request>,
) -> Result<EmptyReply> {
    app.rooms.unban(&session.user_id, &room_id, &request.user_id, request.reason.as_deref()).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/unban", post(handle))
}
