//! `GET /_matrix/client/v3/room_keys/version`: the latest backup.

use crate::frame::*;
use services::keys::Backup;

async fn handle(State(app): State<App>, Authenticated(session): Authenticated) -> Result<Reply<Backup>> {
    Ok(Reply(app.keys.backup(&session.user_id, None)?))
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/room_keys/version", get(handle))
}
