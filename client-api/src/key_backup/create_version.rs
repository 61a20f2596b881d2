//! `POST /_matrix/client/v3/room_keys/version`: begins a new backup.

use crate::frame::*;
use services::keys::BackupDescription;

#[derive(Serialize)]
struct Response {
    version: String,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Json(request): Json<BackupDescription>,
) -> Result<Reply<Response>> {
    let version = app.keys.create_backup(&session.user_id, &request).await?;
    Ok(Reply(Response { version }))
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/room_keys/version", post(handle))
}
