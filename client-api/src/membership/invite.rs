//! `POST /_matrix/client/v3/rooms/{roomId}/invite`: invites a user.

use crate::frame::*;

/// Invites by third-party id lack a `user_id`, and are refused for that: they need an identity server.
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
    let is_direct = false;
    app.peers.invite_user(&session.user_id, &room_id, &request.user_id, request.reason.as_deref(), is_direct).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/invite", post(handle))
}
