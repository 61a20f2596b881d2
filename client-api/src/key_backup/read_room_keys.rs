//! `GET /_matrix/client/v3/room_keys/keys/{roomId}`: the keys of one room.

use super::Version;
use crate::frame::*;
use services::keys::{BackedUpKey, BackupPart};
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Response {
    sessions: BTreeMap<String, BackedUpKey>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<String>,
    Query(Version { version }): Query<Version>,
) -> Result<Reply<Response>> {
    let mut keys = app.keys.backup_keys(&session.user_id, &version, BackupPart::Room(&room_id)).await?;
    Ok(Reply(Response { sessions: keys.remove(&room_id).unwrap_or_default() }))
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/room_keys/keys/{room_id}", get(handle))
}
