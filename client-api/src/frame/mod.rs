//! What every endpoint stands on: extractors, replies, errors, CORS, fallbacks. See the crate's documentation.

mod address;
mod authenticated;
mod cors;
mod error;
mod ids;
mod json;
mod lenient;
mod parameters;
mod reply;
mod versions;

pub use address::ClientAddress;
pub use authenticated::{Authenticated, MaybeAuthenticated};
pub use error::{ApiError, Result};
pub use ids::{EventId, RoomAlias, RoomId, UserId};
pub use json::{Json, MAX_BODY, MAX_NESTING, RawJson};
pub use parameters::{Path, Query};
pub use reply::{EmptyReply, RawReply, Reply};
pub use versions::{ALL_V3, R0_ONLY, UNSTABLE, V1, V1_V3, V3, Versions};

pub use cors::{Allowing, Cors, CorsLayer};

pub use axum::extract::State;
pub use axum::routing::{delete, get, post, put};
pub use serde::{Deserialize, Serialize};
pub use services::{Error, Services};
pub use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use axum::routing::Route;
use std::convert::Infallible;
use tower::{Layer, Service};

/// What handlers get through `State<App>`.
pub type App = Arc<Services>;

/// A router whose handlers take [`App`].
pub type Router = axum::Router<App>;

/// Adds what holds for every route: unknown routes, wrong methods, `OPTIONS`, CORS; and `outer` around all of it. (Both as one layer: each
/// costs every request a copy of all that lies within it.)
pub(crate) fn finish<L>(router: axum::Router, outer: L) -> axum::Router
where
    L: Layer<Cors<Route>> + Clone + Send + Sync + 'static,
    L::Service: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request>>::Future: Send + 'static,
{
    router.fallback(unknown_route).method_not_allowed_fallback(wrong_method).layer((outer, CorsLayer))
}

/// "Common error codes", `M_UNRECOGNIZED`: 404 where there is no such endpoint.
async fn unknown_route(request: Request) -> ApiError {
    Error::unrecognized(format!("There is no endpoint at {}.", printable(request.uri().path()))).into()
}

/// "Common error codes", `M_UNRECOGNIZED`: 405 where the endpoint does not have that method.
async fn wrong_method(request: Request) -> ApiError {
    let sentence = format!("{} does not take {} requests.", printable(request.uri().path()), request.method());
    Error::new(405, "M_UNRECOGNIZED", sentence).into()
}

/// A path as it may stand in an error: bounded, because the client chose it.
fn printable(path: &str) -> &str {
    const MAX_PATH_IN_ERROR: usize = 200;
    services::accounts::names::beginning(path, MAX_PATH_IN_ERROR)
}
