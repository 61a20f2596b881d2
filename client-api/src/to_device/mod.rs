//! Client-server API, "Send-to-Device messaging".

mod send;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    send::route(router)
}
