//! `GET /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`: one key.

use super::Version;
use crate::frame::*;
use services::keys::{BackedUpKey, BackupPart};

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((room_id, session_id)): Path<(String, String)>,
    Query(Version { version }): Query<Version>,
) -> Result<Reply<BackedUpKey>> {
    let part = BackupPart::Session(&room_id, &session_id);
    let mut keys = app.keys.backup_keys(&session.user_id, &version, part).await?;
    let key = keys.get_mut(&room_id).and_then(|sessions| sessions.remove(&session_id));
    Ok(Reply(key.ok_or_else(|| Error::not_found("The backup has no key of this session."))?))
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/room_keys/keys/{room_id}/{session_id}", get(handle))
}
