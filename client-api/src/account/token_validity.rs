//! `GET /_matrix/client/v1/register/m.login.registration_token/validity`: whether a registration token is valid.

use crate::frame::*;

#[derive(Deserialize)]
struct Parameters {
    token: String,
}

#[derive(Serialize)]
struct Response {
    valid: bool,
}

async fn handle(
    State(app): State<App>,
    Query(parameters): Query<Parameters>,
    ClientAddress(address): ClientAddress,
) -> Result<Reply<Response>> {
    Ok(Reply(Response { valid: app.accounts.is_token_valid(&parameters.token, address)? }))
}

pub(crate) fn route(router: Router) -> Router {
    V1.at(router, "/register/m.login.registration_token/validity", get(handle))
}
