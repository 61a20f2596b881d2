//! `GET /_matrix/client/v3/keys/changes`: whose device lists changed since a sync token.

use crate::frame::*;

#[derive(Deserialize)]
struct Parameters {
    from: String,
    to: String,
}

#[derive(Serialize)]
struct Response {
    changed: Vec<String>,
    left: Vec<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Query(parameters): Query<Parameters>,
) -> Result<Reply<Response>> {
    let (changed, left) = app.keys.changes(&session.user_id, &parameters.from, &parameters.to)?;
    Ok(Reply(Response { changed, left }))
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/keys/changes", get(handle))
}
