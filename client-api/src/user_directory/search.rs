//! `POST /_matrix/client/v3/user_directory/search`: finds users by id or display name.

use crate::frame::*;
use services::accounts::SearchResults;

#[derive(Deserialize)]
struct Request {
    search_term: String,
    limit: Option<u64>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Json(request): Json<Request>,
) -> Result<Reply<SearchResults>> {
    Ok(Reply(app.search_users(&session.user_id, &request.search_term, request.limit).await?))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/user_directory/search", post(handle))
}
