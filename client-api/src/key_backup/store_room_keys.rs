//! `PUT /_matrix/client/v3/room_keys/keys/{roomId}`: stores keys of one room in the backup.

use super::{MAX_KEYS, Version};
use crate::frame::*;
use services::keys::{BackedUpKey, BackupState, RoomKeys};
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Request {
    sessions: BTreeMap<String, BackedUpKey>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<String>,
    Query(Version { version }): Query<Version>,
    Json(request): Json<Request, MAX_KEYS>,
) -> Result<Reply<BackupState>> {
    let keys = RoomKeys::from([(room_id, request.sessions)]);
    Ok(Reply(app.keys.store_backup_keys(&session.user_id, &version, &keys).await?))
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/room_keys/keys/{room_id}", put(handle))
}
