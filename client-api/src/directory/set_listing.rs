//! `PUT /_matrix/client/v3/directory/list/room/{roomId}`: lists a room, or not any more.

use crate::frame::*;
use services::rooms::create::Visibility;

#[derive(Deserialize)]
struct Request {
    visibility: Option<Visibility>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
    Json(request): Json<Request>,
) -> Result<EmptyReply> {
    let listed = request.visibility.unwrap_or(Visibility::Public) == Visibility::Public;
    app.rooms.set_listed(&session.user_id, &room_id, listed).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/directory/list/room/{room_id}", put(handle))
}
