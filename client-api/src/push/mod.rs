//! Client-server API, "Push rules: API".

mod actions;
mod enabled;
mod list;
mod notifications;
mod put_rule;
mod read;
mod remove;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    let router = actions::route(router);
    let router = enabled::route(router);
    let router = list::route(router);
    let router = notifications::route(router);
    let router = put_rule::route(router);
    let router = read::route(router);
    remove::route(router)
}
