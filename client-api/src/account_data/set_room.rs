//! `PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}`: sets a piece of a room's account data.

use crate::frame::*;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((user_id, room_id, event_type)): Path<(String, String, String)>,
    RawJson(content): RawJson,
) -> Result<EmptyReply> {
    session.must_be(&user_id)?;
    app.accounts.set_account_data(&user_id, Some(&room_id), &event_type, &content).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/user/{user_id}/rooms/{room_id}/account_data/{event_type}", put(handle))
}
