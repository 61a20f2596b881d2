//! `PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`: stores one key in the backup.

use super::Version;
use crate::frame::*;
use services::keys::{BackedUpKey, BackupState, RoomKeys};
use std::collections::BTreeMap;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((room_id, session_id)): Path<(String, String)>,
    Query(Version { version }): Query<Version>,
    Json(request): Json<BackedUpKey>,
) -> Result<Reply<BackupState>> {
    let keys = RoomKeys::from([(room_id, BTreeMap::from([(session_id, request)]))]);
    Ok(Reply(app.keys.store_backup_keys(&session.user_id, &version, &keys).await?))
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/room_keys/keys/{room_id}/{session_id}", put(handle))
}
