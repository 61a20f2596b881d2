//! `GET /_matrix/client/v3/rooms/{roomId}/members`: member events.

use crate::frame::*;

#[derive(Deserialize)]
struct Parameters {
    at: Option<String>,
    membership: Option<String>,
    not_membership: Option<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
    Query(Parameters { at, membership, not_membership }): Query<Parameters>,
) -> Result<RawReply> {
    let json = app.peers.members(
        &session.user_id,
        &session.device_id,
        &room_id,
        at.as_deref(),
        membership.as_deref(),
        not_membership.as_deref(),
    )?;
    Ok(RawReply(json.into()))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/rooms/{room_id}/members", get(handle))
}
