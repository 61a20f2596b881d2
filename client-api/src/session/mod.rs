//! Client-server API, "Login", "Refreshing access tokens", "Logout".

mod login;
mod login_flows;
mod logout;
mod logout_all;
mod refresh;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    let router = login::route(router);
    let router = login_flows::route(router);
    let router = logout::route(router);
    let router = logout_all::route(router);
    refresh::route(router)
}
