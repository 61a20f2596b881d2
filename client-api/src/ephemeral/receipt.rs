//! `POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}`: the user has read up to an event.

use crate::frame::*;
use serde_json::{Map, Value};

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((room_id, receipt_type, event_id)): Path<(RoomId, String, EventId)>,
    Json(request): Json<Map<String, Value>>,
) -> Result<EmptyReply> {
    // Taken as any value: of whatever is no string, the specification says M_INVALID_PARAM, not M_BAD_JSON.
    let thread = request.get("thread_id");
    app.mark_read(&session.user_id, &room_id, &receipt_type, &event_id, thread).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/receipt/{receipt_type}/{event_id}", post(handle))
}
