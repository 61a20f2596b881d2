//! `GET /_matrix/client/v3/room_keys/keys`: all keys of a backup.

use super::Version;
use crate::frame::*;
use services::keys::{BackedUpKey, BackupPart};
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Response {
    rooms: BTreeMap<String, Room>,
}

#[derive(Serialize)]
struct Room {
    sessions: BTreeMap<String, BackedUpKey>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Query(Version { version }): Query<Version>,
) -> Result<Reply<Response>> {
    let keys = app.keys.backup_keys(&session.user_id, &version, BackupPart::All).await?;
    let rooms = keys.into_iter().map(|(room_id, sessions)| (room_id, Room { sessions })).collect();
    Ok(Reply(Response { rooms }))
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/room_keys/keys", get(handle))
}
