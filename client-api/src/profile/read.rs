//! `GET /_matrix/client/v3/profile/{userId}`: a user's whole profile.

use crate::frame::*;
use services::accounts::Profile;

async fn handle(State(app): State<App>, Path(user_id): Path<String>) -> Result<Reply<Profile>> {
    Ok(Reply(app.profile_of(&user_id, None).await?))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/profile/{user_id}", get(handle))
}
