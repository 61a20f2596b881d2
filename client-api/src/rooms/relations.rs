//! `GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}`: the events that relate to one,
//! narrowed down by as much of the path as there is.

use super::Dir;
use crate::frame::*;
use services::{
    peers::{DEFAULT_PAGE, RelationsRequest},
    rooms::timeline::MAX_PAGE,
};

#[derive(Deserialize)]
struct Parameters {
    #[serde(default = "backward")]
    dir: Dir,
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
    recurse: Option<bool>,
}

fn backward() -> Dir {
    Dir::Backward
}

#[derive(Deserialize)]
struct Place {
    room_id: RoomId,
    event_id: EventId,
    rel_type: Option<String>,
    event_type: Option<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(place): Path<Place>,
    Query(parameters): Query<Parameters>,
) -> Result<RawReply> {
    let request = RelationsRequest {
        user_id: &session.user_id,
        device_id: &session.device_id,
        room_id: &place.room_id,
        event_id: &place.event_id,
        rel_type: place.rel_type.as_deref(),
        event_type: place.event_type.as_deref(),
        from: parameters.from.as_deref(),
        to: parameters.to.as_deref(),
        direction: parameters.dir.into(),
        limit: parameters.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE),
        recurse: parameters.recurse,
    };
    Ok(RawReply(app.peers.relations(&request)?.into()))
}

pub(crate) fn route(mut router: Router) -> Router {
    for narrower in ["", "/{rel_type}", "/{rel_type}/{event_type}"] {
        router = V1.at(router, &format!("/rooms/{{room_id}}/relations/{{event_id}}{narrower}"), get(handle));
    }
    router
}
