//! `POST /_synapse/admin/v1/register`: registers an account for a tool that knows `registration.shared_secret`.

use crate::frame::*;
use services::accounts::{NewSession, SharedSecretRequest};

async fn handle(State(app): State<App>, Json(request): Json<SharedSecretRequest>) -> Result<Reply<NewSession>> {
    Ok(Reply(app.accounts.register_with_shared_secret(request).await?))
}

pub(crate) fn route(router: Router) -> Router {
    router.route("/_synapse/admin/v1/register", post(handle))
}
