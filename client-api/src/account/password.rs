//! `POST /_matrix/client/v3/account/password`: changes the user's password, through user-interactive auth.

use crate::frame::*;
use services::accounts::AuthData;

#[derive(Deserialize)]
struct Request {
    new_password: Option<String>,
    logout_devices: Option<bool>,
    auth: Option<AuthData>,
}

async fn handle(
    State(app): State<App>,
    MaybeAuthenticated(session): MaybeAuthenticated,
    ClientAddress(address): ClientAddress,
    Json(request): Json<Request>,
) -> Result<EmptyReply> {
    let Some(new_password) = request.new_password else {
        return Err(Error::missing_param("`new_password` is missing.").into());
    };
    let logout_devices = request.logout_devices.unwrap_or(true);
    let auth = request.auth.as_ref();
    app.accounts.change_password(session.as_deref(), &new_password, logout_devices, auth, address).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/account/password", post(handle))
}
