//! `PUT /_matrix/client/v3/room_keys/keys`: stores keys of several rooms in the backup.

use super::{MAX_KEYS, Version};
use crate::frame::*;
use services::keys::{BackedUpKey, BackupState};
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Request {
    rooms: BTreeMap<String, Room>,
}

#[derive(Deserialize)]
struct Room {
    sessions: BTreeMap<String, BackedUpKey>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Query(Version { version }): Query<Version>,
    Json(request): Json<Request, MAX_KEYS>,
) -> Result<Reply<BackupState>> {
    let keys = request.rooms.into_iter().map(|(room_id, room)| (room_id, room.sessions)).collect();
    Ok(Reply(app.keys.store_backup_keys(&session.user_id, &version, &keys).await?))
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/room_keys/keys", put(handle))
}
