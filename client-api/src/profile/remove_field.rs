//! `DELETE /_matrix/client/v3/profile/{userId}/{keyName}`: removes a field of the user's own profile.

use crate::frame::*;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((user_id, key_name)): Path<(String, String)>,
) -> Result<EmptyReply> {
    session.must_be(&user_id)?;
    app.set_profile_field(&user_id, &key_name, None).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/profile/{user_id}/{key_name}", delete(handle))
}
