//! `GET /_matrix/client/v1/mutual_rooms`: the rooms that the user shares with another.

use crate::frame::*;
use services::peers::MutualRooms;

#[derive(Deserialize)]
struct Parameters {
    user_id: String,
    from: Option<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Query(parameters): Query<Parameters>,
) -> Result<Reply<MutualRooms>> {
    Ok(Reply(app.peers.mutual_rooms(&session.user_id, &parameters.user_id, parameters.from.as_deref())?))
}

pub(crate) fn route(router: Router) -> Router {
    V1.at(router, "/mutual_rooms", get(handle))
}
