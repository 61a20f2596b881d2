//! `GET /_matrix/client/v3/publicRooms`: a server's published rooms. Needs no token.

use super::rooms_of;
use crate::frame::*;
use services::rooms::directory::DirectoryQuery;

#[derive(Deserialize)]
struct Parameters {
    limit: Option<usize>,
    since: Option<String>,
    server: Option<String>,
}

async fn handle(State(app): State<App>, Query(parameters): Query<Parameters>) -> Result<RawReply> {
    let query = DirectoryQuery { limit: parameters.limit, since: parameters.since, ..DirectoryQuery::default() };
    Ok(rooms_of(&app, parameters.server.as_deref(), query).await?)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/publicRooms", get(handle))
}
