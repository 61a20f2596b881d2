//! `POST /_matrix/client/v3/rooms/{roomId}/read_markers`: several markers of the user at once.

use crate::frame::*;

#[derive(Deserialize)]
struct Request {
    #[serde(rename = "m.fully_read")]
    fully_read: Option<String>,
    #[serde(rename = "m.read")]
    read: Option<String>,
    #[serde(rename = "m.read.private")]
    read_private: Option<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
    Json(request): Json<Request>,
) -> Result<EmptyReply> {
    let markers =
        [("m.fully_read", request.fully_read), ("m.read", request.read), ("m.read.private", request.read_private)];
    let markers: Vec<(&str, &str)> =
        markers.iter().filter_map(|(kind, event_id)| Some((*kind, event_id.as_deref()?))).collect();
    app.mark_all_read(&session.user_id, &room_id, &markers).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/read_markers", post(handle))
}
