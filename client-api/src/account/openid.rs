//! `POST /_matrix/client/v3/user/{userId}/openid/request_token`: a token by which a third party learns who the user is.

use crate::frame::*;
use serde_json::{Map, Value};
use services::openid::OpenIdToken;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(user_id): Path<UserId>,
    // Reserved by the specification: an object, of which nothing is read.
    Json(_): Json<Map<String, Value>>,
) -> Result<Reply<OpenIdToken>> {
    Ok(Reply(app.openid_token(&session, &user_id)?))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/user/{user_id}/openid/request_token", post(handle))
}
