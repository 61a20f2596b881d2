//! Client-server API, "User Directory".

mod search;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    search::route(router)
}
