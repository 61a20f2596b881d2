//! `POST /_matrix/client/v3/delete_devices`: removes several of the user's devices, through user-interactive auth.

use crate::frame::*;
use services::accounts::AuthData;

#[derive(Deserialize)]
struct Request {
    devices: Vec<String>,
    auth: Option<AuthData>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    ClientAddress(address): ClientAddress,
    Json(request): Json<Request>,
) -> Result<EmptyReply> {
    app.accounts.delete_devices(&session, &request.devices, request.auth.as_ref(), address).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/delete_devices", post(handle))
}
