//! `PUT /_matrix/client/v3/room_keys/version/{version}`: replaces a backup's `auth_data`.

use crate::frame::*;
use services::keys::BackupDescription;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(version): Path<String>,
    Json(request): Json<BackupDescription>,
) -> Result<EmptyReply> {
    app.keys.update_backup(&session.user_id, &version, &request).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/room_keys/version/{version}", put(handle))
}
