//! `GET /.well-known/matrix/client`: where clients reach this server. 404 where the operator has not said.

use crate::frame::*;
use services::Config;

/// The answer, which `/login` repeats.
#[derive(Serialize)]
pub(crate) struct ClientDiscovery {
    #[serde(rename = "m.homeserver")]
    homeserver: Homeserver,
}

#[derive(Serialize)]
struct Homeserver {
    base_url: String,
}

impl ClientDiscovery {
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let base_url = config.public_client_url.clone()?;
        Some(Self { homeserver: Homeserver { base_url } })
    }
}

async fn handle(State(app): State<App>) -> Result<Reply<ClientDiscovery>> {
    let discovery = ClientDiscovery::of(&app.config);
    Ok(Reply(discovery.ok_or_else(|| Error::not_found("This server does not announce a URL for clients."))?))
}

pub(crate) fn route(router: Router) -> Router {
    router.route("/.well-known/matrix/client", get(handle))
}
