//! `GET /_matrix/client/v3/register/available`: whether a user name can be had.
//!
//! 400 `M_USER_IN_USE` or `M_INVALID_USERNAME` if not.

use crate::frame::*;

#[derive(Deserialize)]
struct Parameters {
    username: String,
}

#[derive(Serialize)]
struct Response {
    available: bool,
}

async fn handle(
    State(app): State<App>,
    Query(parameters): Query<Parameters>,
    ClientAddress(address): ClientAddress,
) -> Result<Reply<Response>> {
    app.accounts.is_available(&parameters.username, address)?;
    Ok(Reply(Response { available: true }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/register/available", get(handle))
}
