//! `DELETE /_matrix/client/v3/devices/{deviceId}`: removes one of the user's devices, through user-interactive auth.

use crate::frame::*;
use services::accounts::AuthData;

#[derive(Deserialize)]
struct Request {
    auth: Option<AuthData>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    ClientAddress(address): ClientAddress,
    Path(device_id): Path<String>,
    Json(request): Json<Request>,
) -> Result<EmptyReply> {
    app.accounts.delete_devices(&session, &[device_id], request.auth.as_ref(), address).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/devices/{device_id}", delete(handle))
}
