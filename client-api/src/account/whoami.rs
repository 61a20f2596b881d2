//! `GET /_matrix/client/v3/account/whoami`: who the access token belongs to.

use crate::frame::*;

#[derive(Serialize)]
struct Response {
    user_id: Arc<str>,
    device_id: Arc<str>,
    is_guest: bool,
}

async fn handle(Authenticated(session): Authenticated) -> Reply<Response> {
    Reply(Response { user_id: session.user_id.clone(), device_id: session.device_id.clone(), is_guest: false })
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/account/whoami", get(handle))
}
