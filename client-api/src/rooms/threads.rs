//! `GET /_matrix/client/v1/rooms/{roomId}/threads`: the roots of a room's threads.

use crate::frame::*;
use services::peers::{DEFAULT_THREADS, ThreadsRequest};
use std::num::NonZeroUsize;

#[derive(Deserialize)]
struct Parameters {
    #[serde(default)]
    include: Include,
    limit: Option<NonZeroUsize>,
    from: Option<String>,
}

#[derive(Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Include {
    #[default]
    All,
    Participated,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
    Query(parameters): Query<Parameters>,
) -> Result<RawReply> {
    let request = ThreadsRequest {
        user_id: &session.user_id,
        device_id: &session.device_id,
        room_id: &room_id,
        participated: parameters.include == Include::Participated,
        limit: parameters.limit.map_or(DEFAULT_THREADS, NonZeroUsize::get),
        from: parameters.from.as_deref(),
    };
    Ok(RawReply(app.peers.threads(&request)?.into()))
}

pub(crate) fn route(router: Router) -> Router {
    V1.at(router, "/rooms/{room_id}/threads", get(handle))
}
