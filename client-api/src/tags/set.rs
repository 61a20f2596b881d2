//! `PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`: gives a room a tag.

use crate::frame::*;
use serde_json::{Map, Value};

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((user_id, room_id, tag)): Path<(String, String, String)>,
    Json(about): Json<Map<String, Value>>,
) -> Result<EmptyReply> {
    session.must_be(&user_id)?;
    app.accounts.set_tag(&user_id, &room_id, &tag, about).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/user/{user_id}/rooms/{room_id}/tags/{tag}", put(handle))
}
