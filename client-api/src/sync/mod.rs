//! `GET /_matrix/client/v3/sync`: everything that happened since a token.

use crate::frame::*;
use services::sync::SyncRequest;
use std::sync::Arc;
use std::time::Duration;

#[derive(Deserialize)]
struct Parameters {
    filter: Option<String>,
    since: Option<String>,
    #[serde(default)]
    full_state: bool,
    /// Read so that a wrong value is refused; this server keeps no presence.
    #[serde(default, rename = "set_presence")]
    _set_presence: SetPresence,
    /// Milliseconds.
    #[serde(default)]
    timeout: u64,
    /// The name that the proposal used is not taken: clients that ask by it look for the answer under its name too, and use `state` without.
    #[serde(default)]
    use_state_after: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SetPresence {
    Offline,
    #[default]
    Online,
    Unavailable,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Query(parameters): Query<Parameters>,
) -> Result<RawReply> {
    let filter = match parameters.filter.as_deref() {
        None | Some("") => Arc::default(),
        Some(filter) => app.accounts.filter_of_request(&session.user_id, filter)?,
    };
    let request = SyncRequest {
        user_id: session.user_id.to_string(),
        device_id: session.device_id.to_string(),
        session,
        filter,
        since: parameters.since,
        full_state: parameters.full_state,
        state_after: parameters.use_state_after,
        timeout: Duration::from_millis(parameters.timeout),
    };
    Ok(RawReply(app.syncs.sync(&request).await?.into()))
}

pub(crate) fn routes(router: Router) -> Router {
    V3.at(router, "/sync", get(handle))
}
