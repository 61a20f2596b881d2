//! `POST /_matrix/client/v3/register`: registers an account, through user-interactive auth.
//!
//! Guest accounts are refused with 403 `M_FORBIDDEN`, unknown kinds with 400 `M_INVALID_PARAM`.

use crate::frame::*;
use services::accounts::{NewSession, RegisterRequest};

#[derive(Deserialize)]
struct Parameters {
    kind: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Response {
    SignedIn(NewSession),
    Inhibited { user_id: String, home_server: String },
}

async fn handle(
    State(app): State<App>,
    Query(parameters): Query<Parameters>,
    ClientAddress(address): ClientAddress,
    Json(request): Json<RegisterRequest>,
) -> Result<Reply<Response>> {
    match parameters.kind.as_deref() {
        None | Some("user") => {}
        Some("guest") => return Err(Error::forbidden("This server has no guest accounts.").into()),
        Some(_) => return Err(Error::invalid_param("`kind` must be user or guest.").into()),
    }
    let registered = app.accounts.register(request, address).await?;
    Ok(Reply(match registered.session {
        Some(session) => Response::SignedIn(session),
        None => Response::Inhibited { user_id: registered.user_id, home_server: app.config.server_name.clone() },
    }))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/register", post(handle))
}
