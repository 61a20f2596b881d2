//! `POST /_matrix/client/v3/rooms/{roomId}/join`: joins a room, through other servers where it must be.

use super::Via;
use crate::frame::*;
use serde_json::Value;

#[derive(Deserialize)]
struct Request {
    reason: Option<String>,
    third_party_signed: Option<Value>,
}

#[derive(Serialize)]
struct Response {
    room_id: String,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room): Path<RoomId>,
    Query(via): Query<Via>,
    Json(request): Json<Request>,
) -> Result<Reply<Response>> {
    let (reason, signed) = (request.reason.as_deref(), request.third_party_signed.as_ref());
    let room_id = app.peers.join_room(&session.user_id, &room, &via.servers(), reason, signed).await?;
    Ok(Reply(Response { room_id }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/join", post(handle))
}
