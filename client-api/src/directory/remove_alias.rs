//! `DELETE /_matrix/client/v3/directory/room/{roomAlias}`: removes an alias.

use crate::frame::*;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(alias): Path<RoomAlias>,
) -> Result<EmptyReply> {
    app.rooms.remove_alias(&session.user_id, &alias).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/directory/room/{room_alias}", delete(handle))
}
