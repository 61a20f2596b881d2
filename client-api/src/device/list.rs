//! `GET /_matrix/client/v3/devices`: the user's devices.

use crate::frame::*;
use services::devices::Device;

#[derive(Serialize)]
struct Response {
    devices: Vec<Device>,
}

async fn handle(State(app): State<App>, Authenticated(session): Authenticated) -> Result<Reply<Response>> {
    Ok(Reply(Response { devices: app.accounts.devices.list(&session.user_id)? }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/devices", get(handle))
}
