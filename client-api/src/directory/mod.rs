//! Client-server API, "Room aliases" and "Published room directory".

mod alias;
mod listing;
mod public_rooms;
mod remove_alias;
mod search;
mod set_alias;
mod set_listing;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    let router = alias::route(router);
    let router = listing::route(router);
    let router = public_rooms::route(router);
    let router = remove_alias::route(router);
    let router = search::route(router);
    let router = set_alias::route(router);
    set_listing::route(router)
}

use services::rooms::directory::DirectoryQuery;

/// Rooms of a server's directory, of ours without a name.
async fn rooms_of(
    app: &crate::frame::App,
    server: Option<&str>,
    query: DirectoryQuery,
) -> services::Result<crate::frame::RawReply> {
    let json = match server {
        Some(server) if server != app.config.server_name => {
            serde_json::to_vec(&app.peers.public_rooms(server, query).await?)
        }
        _ => serde_json::to_vec(&app.rooms.directory(&query)?),
    };
    Ok(crate::frame::RawReply(json.map_err(services::Error::internal)?.into()))
}
