//! `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`: sends a message, once per transaction id.

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
    Path((room_id, event_type, txn_id)): Path<(RoomId, String, String)>,
    Json(content): Json<Map<String, Value>>,
) -> Result<Reply<Response>> {
    // Transaction ids are scoped to the endpoint, which the path up to them names.
    let endpoint = format!("send/{}/{event_type}", &*room_id);
    let transaction = Transaction { device_id: &session.device_id, endpoint: &endpoint, id: &txn_id };
    let event_id = app.rooms.send_message(&session.user_id, &room_id, &event_type, content, &transaction).await?;
    app.has_sent(&session.user_id, &room_id, &event_type)?;
    Ok(Reply(Response { event_id }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/send/{event_type}/{txn_id}", put(handle))
}
