//! Endpoints that existing administration tools use.

mod shared_secret_nonce;
mod shared_secret_register;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    let router = shared_secret_nonce::route(router);
    shared_secret_register::route(router)
}
