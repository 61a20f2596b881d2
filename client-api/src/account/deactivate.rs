//! `POST /_matrix/client/v3/account/deactivate`: ends the user's account, through user-interactive auth.

use crate::frame::*;
use services::accounts::AuthData;

#[derive(Deserialize)]
struct Request {
    auth: Option<AuthData>,
    #[serde(default)]
    erase: bool,
}

#[derive(Serialize)]
struct Response {
    /// We bind no third-party identifiers, so that there is never one left to unbind.
    id_server_unbind_result: &'static str,
}

async fn handle(
    State(app): State<App>,
    MaybeAuthenticated(session): MaybeAuthenticated,
    ClientAddress(address): ClientAddress,
    Json(request): Json<Request>,
) -> Result<Reply<Response>> {
    app.deactivate_own_account(session.as_deref(), request.erase, request.auth.as_ref(), address).await?;
    Ok(Reply(Response { id_server_unbind_result: "success" }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/account/deactivate", post(handle))
}
