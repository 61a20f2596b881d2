//! `DELETE /_matrix/client/v3/room_keys/keys`: deletes all keys of a backup.

use super::Version;
use crate::frame::*;
use services::keys::{BackupPart, BackupState};

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Query(Version { version }): Query<Version>,
) -> Result<Reply<BackupState>> {
    let part = BackupPart::All;
    Ok(Reply(app.keys.delete_backup_keys(&session.user_id, &version, part).await?))
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/room_keys/keys", delete(handle))
}
