//! `POST /_matrix/client/v3/rooms/{roomId}/upgrade`: replaces a room by one of another version.

use crate::frame::*;

#[derive(Deserialize)]
struct Request {
    new_version: String,
    #[serde(default)]
    additional_creators: Vec<String>,
}

#[derive(Serialize)]
struct Response {
    replacement_room: String,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
    Json(request): Json<Request>,
) -> Result<Reply<Response>> {
    let (version, creators) = (&request.new_version, &request.additional_creators);
    let replacement_room = app.peers.upgrade_room(&session.user_id, &room_id, version, creators).await?;
    Ok(Reply(Response { replacement_room }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/upgrade", post(handle))
}
