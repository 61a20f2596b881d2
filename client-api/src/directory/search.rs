//! `POST /_matrix/client/v3/publicRooms`: those of a server's published rooms that a filter lets pass.

use super::rooms_of;
use crate::frame::*;
use services::rooms::directory::DirectoryQuery;

#[derive(Deserialize)]
struct Parameters {
    server: Option<String>,
}

/// This server has no bridges: rooms of third-party networks, if asked for, are none.
#[derive(Deserialize)]
struct Request {
    limit: Option<usize>,
    since: Option<String>,
    #[serde(default)]
    filter: Filter,
}

#[derive(Default, Deserialize)]
struct Filter {
    generic_search_term: Option<String>,
    room_types: Option<Vec<Option<String>>>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(_): Authenticated,
    Query(parameters): Query<Parameters>,
    Json(request): Json<Request>,
) -> Result<RawReply> {
    let query = DirectoryQuery {
        limit: request.limit,
        since: request.since,
        search: request.filter.generic_search_term,
        room_types: request.filter.room_types,
    };
    Ok(rooms_of(&app, parameters.server.as_deref(), query).await?)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/publicRooms", post(handle))
}
