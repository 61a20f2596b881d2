//! `PUT /_matrix/client/v3/profile/{userId}/{keyName}`: sets a field of the user's own profile.

use crate::frame::*;
use serde_json::{Map, Value};

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((user_id, key_name)): Path<(String, String)>,
    Json(mut request): Json<Map<String, Value>>,
) -> Result<EmptyReply> {
    session.must_be(&user_id)?;
    let Some(value) = request.remove(&key_name) else {
        return Err(Error::missing_param(format!("`{key_name}`, which the path names, is missing.")).into());
    };
    app.set_profile_field(&user_id, &key_name, Some(value)).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/profile/{user_id}/{key_name}", put(handle))
}
