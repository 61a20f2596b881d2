//! `GET /_matrix/client/v3/admin/whois/{userId}`: when and from where a user's devices were last used. For the user and for
//! administrators.

use crate::frame::*;
use serde_json::{Map, Value, json};
use services::devices::Device;

#[derive(Serialize)]
struct Response {
    user_id: String,
    devices: Map<String, Value>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(user_id): Path<UserId>,
) -> Result<Reply<Response>> {
    let devices = app.accounts.whois(&session, &user_id)?;
    Ok(Reply(Response { user_id: user_id.0, devices: devices.into_iter().map(shown).collect() }))
}

/// A device has one session, of which the last use is known.
fn shown(device: Device) -> (String, Value) {
    let connections = match (device.last_seen_ts, device.last_seen_ip) {
        (Some(last_seen), Some(ip)) => json!([{ "ip": ip, "last_seen": last_seen }]),
        (Some(last_seen), None) => json!([{ "last_seen": last_seen }]),
        (None, _) => json!([]),
    };
    (device.device_id, json!({ "sessions": [{ "connections": connections }] }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/admin/whois/{user_id}", get(handle))
}
