//! `DELETE /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`: deletes one key.

use super::Version;
use crate::frame::*;
use services::keys::{BackupPart, BackupState};

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((room_id, session_id)): Path<(String, String)>,
    Query(Version { version }): Query<Version>,
) -> Result<Reply<BackupState>> {
    let part = BackupPart::Session(&room_id, &session_id);
    Ok(Reply(app.keys.delete_backup_keys(&session.user_id, &version, part).await?))
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/room_keys/keys/{room_id}/{session_id}", delete(handle))
}
