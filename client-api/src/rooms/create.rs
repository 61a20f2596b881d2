//! `POST /_matrix/client/v3/createRoom`: makes a room.

use crate::frame::*;
use services::rooms::create::CreateRoom;

#[derive(Serialize)]
struct Response {
    room_id: String,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Json(request): Json<CreateRoom>,
) -> Result<Reply<Response>> {
    Ok(Reply(Response { room_id: app.peers.create_room(&session.user_id, request).await? }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/createRoom", post(handle))
}
