//! `GET /_matrix/client/v3/joined_rooms`: the rooms that the user is in.

use crate::frame::*;

#[derive(Serialize)]
struct Response {
    joined_rooms: Vec<String>,
}

async fn handle(State(app): State<App>, Authenticated(session): Authenticated) -> Result<Reply<Response>> {
    Ok(Reply(Response { joined_rooms: app.peers.joined_rooms(&session.user_id)? }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/joined_rooms", get(handle))
}
