//! Client-server API, "Room membership".

mod ban;
mod forget;
mod invite;
mod join;
mod join_by_id;
mod joined_rooms;
mod kick;
mod knock;
mod leave;
mod unban;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    let router = ban::route(router);
    let router = forget::route(router);
    let router = invite::route(router);
    let router = join::route(router);
    let router = join_by_id::route(router);
    let router = joined_rooms::route(router);
    let router = kick::route(router);
    let router = knock::route(router);
    let router = leave::route(router);
    unban::route(router)
}

/// Servers to go through: `via`, and `server_name` as it was called before.
#[derive(Debug, serde::Deserialize)]
struct Via {
    #[serde(default)]
    via: Vec<String>,
    #[serde(default)]
    server_name: Vec<String>,
}

impl Via {
    fn servers(self) -> Vec<String> {
        let mut servers = self.via;
        servers.extend(self.server_name);
        servers
    }
}
