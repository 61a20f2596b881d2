//! `GET /_synapse/admin/v1/register`: a nonce for a registration by shared secret.

use crate::frame::*;

#[derive(Serialize)]
struct Response {
    nonce: String,
}

async fn handle(State(app): State<App>, ClientAddress(address): ClientAddress) -> Result<Reply<Response>> {
    Ok(Reply(Response { nonce: app.accounts.shared_secret_nonce(address)? }))
}

pub(crate) fn route(router: Router) -> Router {
    router.route("/_synapse/admin/v1/register", get(handle))
}
