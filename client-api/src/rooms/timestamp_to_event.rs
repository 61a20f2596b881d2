//! `GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event`: the event nearest to a moment.

use super::Dir;
use crate::frame::*;
use serde_json::Value;

#[derive(Deserialize)]
struct Parameters {
    ts: i64,
    dir: Dir,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
    Query(Parameters { ts, dir }): Query<Parameters>,
) -> Result<Reply<Value>> {
    Ok(Reply(app.peers.event_at(&session.user_id, &room_id, ts, matches!(dir, Dir::Forward))?))
}

pub(crate) fn route(router: Router) -> Router {
    V1.at(router, "/rooms/{room_id}/timestamp_to_event", get(handle))
}
