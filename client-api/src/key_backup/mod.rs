//! Client-server API, "Server-side key backups".

mod create_version;
mod current_version;
mod delete_keys;
mod delete_room_keys;
mod delete_session_key;
mod delete_version;
mod read_keys;
mod read_room_keys;
mod read_session_key;
mod read_version;
mod store_keys;
mod store_room_keys;
mod store_session_key;
mod update_version;

use crate::frame::Router;

/// Largest request that stores keys, in bytes.
const MAX_KEYS: usize = 8 * 1024 * 1024;

/// Which version of the backup a request is about.
#[derive(serde::Deserialize)]
struct Version {
    version: String,
}

pub(crate) fn routes(router: Router) -> Router {
    let router = create_version::route(router);
    let router = current_version::route(router);
    let router = delete_keys::route(router);
    let router = delete_room_keys::route(router);
    let router = delete_session_key::route(router);
    let router = delete_version::route(router);
    let router = read_keys::route(router);
    let router = read_room_keys::route(router);
    let router = read_session_key::route(router);
    let router = read_version::route(router);
    let router = store_keys::route(router);
    let router = store_room_keys::route(router);
    let router = store_session_key::route(router);
    update_version::route(router)
}
