//! Client-server API, "Key management API" and "Cross-signing".

mod changes;
mod claim;
mod device_signing_upload;
mod query;
mod signatures_upload;
mod upload;

use crate::frame::Router;

pub(crate) fn routes(router: Router) -> Router {
    let router = changes::route(router);
    let router = claim::route(router);
    let router = device_signing_upload::route(router);
    let router = query::route(router);
    let router = signatures_upload::route(router);
    upload::route(router)
}

/// How long other servers are given, from the `timeout` (milliseconds) of a request.
fn timeout(millis: Option<u64>) -> std::time::Duration {
    millis.map_or(services::keys::DEFAULT_TIMEOUT, std::time::Duration::from_millis).min(services::keys::MAX_TIMEOUT)
}
