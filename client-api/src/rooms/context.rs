//! `GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}`: an event and what stands around it.

use super::event_filter;
use crate::frame::*;
use services::{peers::DEFAULT_PAGE, rooms::timeline::MAX_PAGE};

#[derive(Deserialize)]
struct Parameters {
    limit: Option<usize>,
    filter: Option<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((room_id, event_id)): Path<(RoomId, EventId)>,
    Query(parameters): Query<Parameters>,
) -> Result<RawReply> {
    let limit = parameters.limit.unwrap_or(DEFAULT_PAGE).min(MAX_PAGE);
    let filter = event_filter(parameters.filter.as_deref())?;
    let json = app.peers.context(&session.user_id, &session.device_id, &room_id, &event_id, limit, &filter)?;
    Ok(RawReply(json.into()))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/context/{event_id}", get(handle))
}
