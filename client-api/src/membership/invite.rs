//! `POST /_matrix/client/v3/rooms/{roomId}/invite`: invites a user.
//!
//! Invites by third-party id lack a `user_id`, and are refused for that: they need an identity server.

use super::Target;
use crate::frame::*;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
    Json(target): Json<Target>,
) -> Result<EmptyReply> {
    let is_direct = false;
    app.peers.invite_user(&session.user_id, &room_id, &target.user_id, target.reason.as_deref(), is_direct).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/invite", post(handle))
}
