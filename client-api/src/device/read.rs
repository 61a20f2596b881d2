//! `GET /_matrix/client/v3/devices/{deviceId}`: one of the user's devices.

use crate::frame::*;
use services::devices::Device;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(device_id): Path<String>,
) -> Result<Reply<Device>> {
    Ok(Reply(app.accounts.devices.get(&session.user_id, &device_id)?))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/devices/{device_id}", get(handle))
}
