//! `PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}`: messages to single devices, once per transaction id.

use crate::frame::*;
use services::keys::ToDeviceMessages;

/// Largest request, in bytes.
const MAX_MESSAGES: usize = 4 * 1024 * 1024;

#[derive(Deserialize)]
struct Request {
    messages: ToDeviceMessages,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((event_type, transaction_id)): Path<(String, String)>,
    Json(request): Json<Request, MAX_MESSAGES>,
) -> Result<EmptyReply> {
    app.keys
        .send_to_device(&session.user_id, &session.device_id, &event_type, &transaction_id, &request.messages)
        .await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    ALL_V3.at(router, "/sendToDevice/{event_type}/{txn_id}", put(handle))
}
