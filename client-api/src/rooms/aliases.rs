//! `GET /_matrix/client/v3/rooms/{roomId}/aliases`: the aliases that this server has for a room.

use crate::frame::*;

#[derive(Serialize)]
struct Response {
    aliases: Vec<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
) -> Result<Reply<Response>> {
    Ok(Reply(Response { aliases: app.peers.room_aliases(&session.user_id, &room_id)? }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/aliases", get(handle))
}
