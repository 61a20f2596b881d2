//! `PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}`: takes an event's content out of the room.

use crate::frame::*;
use serde_json::{Map, Value};
use services::rooms::send::Transaction;

#[derive(Serialize)]
struct Response {
    event_id: String,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((room_id, event_id, txn_id)): Path<(RoomId, EventId, String)>,
    Json(content): Json<Map<String, Value>>,
) -> Result<Reply<Response>> {
    let endpoint = format!("redact/{}/{}", &*room_id, &*event_id);
    let transaction = Transaction { device_id: &session.device_id, endpoint: &endpoint, id: &txn_id };
    let event_id = app.rooms.redact(&session.user_id, &room_id, &event_id, content, &transaction).await?;
    Ok(Reply(Response { event_id }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/redact/{event_id}/{txn_id}", put(handle))
}
