//! `POST /_matrix/client/v3/keys/signatures/upload`: signatures of devices and master keys; each may fail by itself.

use crate::frame::*;
use serde_json::Value;
use services::keys::SignatureUpload;
use std::collections::BTreeMap;

/// Largest request, in bytes: what fits into one batch of the store.
const MAX_UPLOAD: usize = 512 * 1024;

#[derive(Serialize)]
struct Response {
    failures: BTreeMap<String, BTreeMap<String, Value>>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Json(request): Json<SignatureUpload, MAX_UPLOAD>,
) -> Result<Reply<Response>> {
    let failures = app.keys.upload_signatures(&session.user_id, &request).await?;
    Ok(Reply(Response { failures }))
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/keys/signatures/upload", post(handle))
}
