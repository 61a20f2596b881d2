//! `POST /_matrix/client/v3/keys/query`: devices and keys of users, of this server and others.

use super::timeout;
use crate::frame::*;
use services::keys::KeyQueryAnswer;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Request {
    /// For each user the devices wanted; none means all.
    device_keys: BTreeMap<String, Vec<String>>,
    /// Milliseconds.
    timeout: Option<u64>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Json(request): Json<Request>,
) -> Result<Reply<KeyQueryAnswer>> {
    Ok(Reply(app.keys.query(&session.user_id, &request.device_keys, timeout(request.timeout)).await?))
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/keys/query", post(handle))
}
