//! Client-server API, "Device Management".

mod list;
mod read;
mod remove;
mod remove_many;
mod update;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    let router = list::route(router);
    let router = read::route(router);
    let router = remove::route(router);
    let router = remove_many::route(router);
    update::route(router)
}
