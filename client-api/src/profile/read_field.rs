//! `GET /_matrix/client/v3/profile/{userId}/{keyName}`: one field of a user's profile.

use crate::frame::*;
use services::accounts::Profile;

async fn handle(State(app): State<App>, Path((user_id, key_name)): Path<(String, String)>) -> Result<Reply<Profile>> {
    Ok(Reply(app.profile_of(&user_id, Some(&key_name)).await?))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/profile/{user_id}/{key_name}", get(handle))
}
