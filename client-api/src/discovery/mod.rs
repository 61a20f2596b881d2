//! Client-server API, "Server Discovery", "API Versions".

mod versions;
mod well_known_client;
mod well_known_server;

use crate::frame::Router;

pub(crate) use well_known_client::ClientDiscovery;

pub(crate) fn routes(router: Router) -> Router {
    let router = versions::route(router);
    let router = well_known_client::route(router);
    well_known_server::route(router)
}
