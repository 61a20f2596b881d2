//! `PUT /_matrix/client/v3/directory/room/{roomAlias}`: makes an alias.

use crate::frame::*;

#[derive(Deserialize)]
struct Request {
    room_id: String,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(alias): Path<RoomAlias>,
    Json(request): Json<Request>,
) -> Result<EmptyReply> {
    app.rooms.add_alias(&session.user_id, &alias, &request.room_id).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/directory/room/{room_alias}", put(handle))
}
