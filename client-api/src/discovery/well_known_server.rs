//! `GET /.well-known/matrix/server` (server-server API, "Server discovery"): where other servers reach this one. 404
//! where the operator has not said.

use crate::frame::*;

#[derive(Serialize)]
struct Response {
    #[serde(rename = "m.server")]
    server: String,
}

async fn handle(State(app): State<App>) -> Result<Reply<Response>> {
    match &app.config.public_federation_address {
        Some(server) => Ok(Reply(Response { server: server.clone() })),
        None => Err(Error::not_found("This server does not announce an address for other servers.").into()),
    }
}

pub(crate) fn route(router: Router) -> Router {
    router.route("/.well-known/matrix/server", get(handle))
}
