//! `GET /_matrix/client/v3/directory/list/room/{roomId}`: whether a room is listed. Needs no token.

use crate::frame::*;

#[derive(Serialize)]
struct Response {
    visibility: &'static str,
}

async fn handle(State(app): State<App>, Path(room_id): Path<RoomId>) -> Result<Reply<Response>> {
    app.rooms.known(&room_id)?;
    Ok(Reply(Response { visibility: if app.rooms.is_listed(&room_id)? { "public" } else { "private" } }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/directory/list/room/{room_id}", get(handle))
}
