//! `POST /_matrix/client/v3/join/{roomIdOrAlias}`: joins a room, through other servers where it must be.

use super::{Join, Joined, Via, join_room};
use crate::frame::*;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room): Path<String>,
    Query(via): Query<Via>,
    Json(request): Json<Join>,
) -> Result<Reply<Joined>> {
    join_room(&app, &session, &room, via, &request).await
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/join/{room_id_or_alias}", post(handle))
}
