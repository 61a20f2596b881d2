//! `GET /_matrix/client/v3/directory/room/{roomAlias}`: where an alias leads. Needs no token.

use crate::frame::*;

#[derive(Serialize)]
struct Response {
    room_id: String,
    servers: Vec<String>,
}

async fn handle(State(app): State<App>, Path(alias): Path<RoomAlias>) -> Result<Reply<Response>> {
    let (room_id, servers) = app.peers.find_room(&alias).await?;
    Ok(Reply(Response { room_id, servers }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/directory/room/{room_alias}", get(handle))
}
