//! `GET /_matrix/client/v3/notifications`: the events of which the user's push rules notify them.

use crate::frame::*;
use services::push::DEFAULT_NOTIFICATIONS;

#[derive(Deserialize)]
struct Parameters {
    from: Option<String>,
    limit: Option<usize>,
    /// `highlight` is the one value that means something.
    only: Option<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Query(parameters): Query<Parameters>,
) -> Result<RawReply> {
    let limit = parameters.limit.unwrap_or(DEFAULT_NOTIFICATIONS);
    let only_highlights = parameters.only.as_deref() == Some("highlight");
    let from = parameters.from.as_deref();
    Ok(RawReply(app.notifications(&session.user_id, &session.device_id, from, limit, only_highlights)?.into()))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/notifications", get(handle))
}
