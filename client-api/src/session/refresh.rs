//! `POST /_matrix/client/v3/refresh`: changes a refresh token for new tokens.

use crate::frame::*;
use services::accounts::Refreshed;

#[derive(Deserialize)]
struct Request {
    refresh_token: String,
}

async fn handle(
    State(app): State<App>,
    ClientAddress(address): ClientAddress,
    Json(request): Json<Request>,
) -> Result<Reply<Refreshed>> {
    Ok(Reply(app.accounts.refresh(&request.refresh_token, address).await?))
}

pub(crate) fn route(router: Router) -> Router {
    V1_V3.at(router, "/refresh", post(handle))
}
