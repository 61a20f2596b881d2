//! Client-server API, "Profiles".

mod read;
mod read_field;
mod remove_field;
mod set_field;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    let router = read::route(router);
    let router = read_field::route(router);
    let router = remove_field::route(router);
    set_field::route(router)
}
