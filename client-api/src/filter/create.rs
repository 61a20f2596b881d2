//! `POST /_matrix/client/v3/user/{userId}/filter`: uploads a filter.

use crate::frame::*;

#[derive(Serialize)]
struct Response {
    filter_id: String,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(user_id): Path<String>,
    RawJson(filter): RawJson,
) -> Result<Reply<Response>> {
    session.must_be(&user_id)?;
    Ok(Reply(Response { filter_id: app.accounts.add_filter(&user_id, &filter).await? }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/user/{user_id}/filter", post(handle))
}
