//! `PUT /_matrix/client/v3/devices/{deviceId}`: renames one of the user's devices.

use crate::frame::*;

#[derive(Deserialize)]
struct Request {
    display_name: Option<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(device_id): Path<String>,
    Json(request): Json<Request>,
) -> Result<EmptyReply> {
    app.accounts.devices.rename(&session.user_id, &device_id, request.display_name.as_deref()).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/devices/{device_id}", put(handle))
}
