//! `POST /_matrix/client/v3/keys/device_signing/upload`: cross-signing keys, through user-interactive auth where they take the place of others.

use crate::frame::*;
use serde_json::{Map, Value};
use services::{accounts::AuthData, keys::CrossSigningUpload};

#[derive(Deserialize)]
struct Request {
    master_key: Option<Map<String, Value>>,
    self_signing_key: Option<Map<String, Value>>,
    user_signing_key: Option<Map<String, Value>>,
    auth: Option<AuthData>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    ClientAddress(address): ClientAddress,
    Json(request): Json<Request>,
) -> Result<EmptyReply> {
    let upload = CrossSigningUpload {
        master_key: request.master_key,
        self_signing_key: request.self_signing_key,
        user_signing_key: request.user_signing_key,
    };
    app.keys.upload_cross_signing(&app.accounts, &session, &upload, request.auth.as_ref(), address).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/keys/device_signing/upload", post(handle))
}
