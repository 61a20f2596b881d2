//! `POST /_matrix/client/v3/login`: signs in with a password.

use crate::{discovery::ClientDiscovery, frame::*};
use services::accounts::{LoginRequest, NewSession};

#[derive(Serialize)]
struct Response {
    #[serde(flatten)]
    session: NewSession,
    #[serde(skip_serializing_if = "Option::is_none")]
    well_known: Option<ClientDiscovery>,
}

async fn handle(
    State(app): State<App>,
    ClientAddress(address): ClientAddress,
    Json(request): Json<LoginRequest>,
) -> Result<Reply<Response>> {
    let session = app.accounts.login(request, address).await?;
    Ok(Reply(Response { session, well_known: ClientDiscovery::of(&app.config) }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/login", post(handle))
}
