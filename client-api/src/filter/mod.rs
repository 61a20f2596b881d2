//! Client-server API, "Filtering".

mod create;
mod read;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    let router = create::route(router);
    read::route(router)
}
