//! Client-server API, "Account registration", "Account management".

mod available;
mod deactivate;
mod openid;
mod password;
mod register;
mod third_party_ids;
mod token_validity;
mod whoami;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    let router = available::route(router);
    let router = deactivate::route(router);
    let router = openid::route(router);
    let router = password::route(router);
    let router = register::route(router);
    let router = third_party_ids::route(router);
    let router = token_validity::route(router);
    whoami::route(router)
}
