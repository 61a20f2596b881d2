//! `DELETE /_matrix/client/v3/room_keys/version/{version}`: deletes a backup with its keys.

use crate::frame::*;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(version): Path<String>,
) -> Result<EmptyReply> {
    app.keys.delete_backup(&session.user_id, &version).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/room_keys/version/{version}", delete(handle))
}
