//! `GET /_matrix/client/v3/rooms/{roomId}/messages`: a page of history.

use super::{Dir, event_filter};
use crate::frame::*;
use services::peers::{DEFAULT_PAGE, MessagesRequest};

#[derive(Deserialize)]
struct Parameters {
    dir: Dir,
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
    filter: Option<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
    Query(parameters): Query<Parameters>,
) -> Result<RawReply> {
    let request = MessagesRequest {
        user_id: &session.user_id,
        device_id: &session.device_id,
        room_id: &room_id,
        from: parameters.from.as_deref(),
        to: parameters.to.as_deref(),
        direction: parameters.dir.into(),
        limit: parameters.limit.unwrap_or(DEFAULT_PAGE),
        filter: &event_filter(parameters.filter.as_deref())?,
    };
    Ok(RawReply(app.peers.messages(&request).await?.into()))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/messages", get(handle))
}
