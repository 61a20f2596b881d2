//! `GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}`: one event.

use crate::frame::*;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((room_id, event_id)): Path<(RoomId, EventId)>,
) -> Result<RawReply> {
    Ok(RawReply(app.peers.event(&session.user_id, &session.device_id, &room_id, &event_id)?.into()))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/event/{event_id}", get(handle))
}
