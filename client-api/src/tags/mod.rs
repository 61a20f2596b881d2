//! Client-server API, "Room Tagging".

mod list;
mod remove;
mod set;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    let router = list::route(router);
    let router = remove::route(router);
    set::route(router)
}
