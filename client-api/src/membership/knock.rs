//! `POST /_matrix/client/v3/knock/{roomIdOrAlias}`: asks to be let into a room.

use super::{Joined, Via};
use crate::frame::*;

#[derive(Deserialize)]
struct Request {
    reason: Option<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room): Path<String>,
    Query(via): Query<Via>,
    Json(request): Json<Request>,
) -> Result<Reply<Joined>> {
    let room_id = app.peers.knock_room(&session.user_id, &room, &via.servers(), request.reason.as_deref()).await?;
    Ok(Reply(Joined { room_id }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/knock/{room_id_or_alias}", post(handle))
}
