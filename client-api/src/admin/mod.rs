//! Endpoints that existing administration tools use, and client-server API, "Server Administration".

mod shared_secret_nonce;
mod shared_secret_register;
mod whois;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    let router = shared_secret_nonce::route(router);
    let router = shared_secret_register::route(router);
    whois::route(router)
}
