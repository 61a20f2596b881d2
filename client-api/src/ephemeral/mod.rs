//! Client-server API, "Typing Notifications", "Receipts" and "Fully read markers".

mod read_markers;
mod receipt;
mod typing;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    let router = read_markers::route(router);
    let router = receipt::route(router);
    typing::route(router)
}
