//! `GET /_matrix/client/v3/user/{userId}/filter/{filterId}`: a filter as it was uploaded.

use crate::frame::*;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((user_id, filter_id)): Path<(String, String)>,
) -> Result<RawReply> {
    session.must_be(&user_id)?;
    Ok(RawReply(app.accounts.filter(&user_id, &filter_id)?))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/user/{user_id}/filter/{filter_id}", get(handle))
}
