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

pub use axum::extract::State;
pub use axum::routing::{delete, get, post, put};
pub use serde::{Deserialize, Serialize};
pub use services::{Error, Services};
pub use std::sync::Arc;

/// What handlers get through `State<App>`.
pub type App = Arc<Services>;

/// A router whose handlers take [`App`].
pub type Router = axum::Router<App>;

/// Adds what holds for every route: unknown routes, wrong methods, `OPTIONS`, CORS.
pub(crate) fn finish(router: axum::Router) -> axum::Router {
    router.fallback(unknown_route).method_not_allowed_fallback(wrong_method).layer(axum::middleware::from_fn(cors::add))
}

/// "Common error codes", `M_UNRECOGNIZED`: 404 where there is no such endpoint.
async fn unknown_route(request: axum::extract::Request) -> ApiError {
    Error::unrecognized(format!("There is no endpoint at {}.", printable(request.uri().path()))).into()
}

/// "Common error codes", `M_UNRECOGNIZED`: 405 where the endpoint does not have that method.
async fn wrong_method(request: axum::extract::Request) -> ApiError {
    let sentence = format!("{} does not take {} requests.", printable(request.uri().path()), request.method());
    Error::new(405, "M_UNRECOGNIZED", sentence).into()
}

/// A path as it may stand in an error: bounded, because the client chose it.
fn printable(path: &str) -> &str {
    const MAX_PATH_IN_ERROR: usize = 200;
    services::accounts::names::beginning(path, MAX_PATH_IN_ERROR)
}
