//! `GET /_matrix/client/v3/user/{userId}/account_data/{type}`: a piece of global account data.

use crate::frame::*;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((user_id, event_type)): Path<(String, String)>,
) -> Result<RawReply> {
    session.must_be(&user_id)?;
    Ok(RawReply(app.global_account_data(&user_id, &event_type)?))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/user/{user_id}/account_data/{event_type}", get(handle))
}
