//! `POST /_matrix/client/v3/keys/upload`: the identity keys, one-time keys and fallback keys of the device that asks.

use crate::frame::*;
use services::keys::KeyUpload;
use std::collections::BTreeMap;

/// Largest request, in bytes: what fits into one batch of the store.
const MAX_UPLOAD: usize = 512 * 1024;

#[derive(Serialize)]
struct Response {
    one_time_key_counts: BTreeMap<String, u64>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Json(request): Json<KeyUpload, MAX_UPLOAD>,
) -> Result<Reply<Response>> {
    let one_time_key_counts = app.keys.upload(&session.user_id, &session.device_id, request).await?;
    Ok(Reply(Response { one_time_key_counts }))
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/keys/upload", post(handle))
}
