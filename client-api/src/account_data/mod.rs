//! Client-server API, "Client Config".

mod read;
mod read_room;
mod set;
mod set_room;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    let router = read::route(router);
    let router = read_room::route(router);
    let router = set::route(router);
    set_room::route(router)
}
