//! `POST /_matrix/client/v3/keys/claim`: one-time keys of devices, each handed out once.

use super::timeout;
use crate::frame::*;
use services::keys::KeyClaimAnswer;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Request {
    /// For each user, for each device, the algorithm.
    one_time_keys: BTreeMap<String, BTreeMap<String, String>>,
    /// Milliseconds.
    timeout: Option<u64>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(_): Authenticated,
    Json(request): Json<Request>,
) -> Result<Reply<KeyClaimAnswer>> {
    Ok(Reply(app.keys.claim(request.one_time_keys, timeout(request.timeout)).await?))
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/keys/claim", post(handle))
}
