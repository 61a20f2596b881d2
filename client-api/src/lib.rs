//! The Matrix client-server protocol: one endpoint, one small file.
//!
//! [`router`] gives an axum router over [`services::Services`]. Everything here is translation between HTTP and the
//! services: no endpoint has logic of its own.
//!
//! # How to add an endpoint
//!
//! One file per endpoint, in the folder of its chapter of the specification, in this order:
//!
//! 1. a doc comment naming the endpoint as the specification does (`GET /_matrix/client/v3/account/whoami`) and what
//!    deserves to be known about it;
//! 2. the request (`#[derive(Deserialize)] struct Request`), the response (`#[derive(Serialize)] struct Response`);
//! 3. `async fn handle(...) -> Result<...>`: extractors in, one call of a service, a reply out;
//! 4. `pub(crate) fn route(router: Router) -> Router`, which uses [`Versions::at`](frame::Versions) to register the
//!    handler under every version of the API that has it.
//!
//! Then name the file in its folder's `mod.rs` and call its `route` there. Path parameters are named as in the
//! specification, in snake case (`{user_id}`, `{room_id}`, `{event_type}`): axum requires one name at one place.
//!
//! ```text
//! //! `GET /_matrix/client/v3/account/whoami`: who the access token belongs to.
//! use crate::frame::*;
//!
//! #[derive(Serialize)]
//! struct Response { user_id: String }
//!
//! async fn handle(Authenticated(session): Authenticated) -> Result<Reply<Response>> {
//!     Ok(Reply(Response { user_id: session.user_id.to_string() }))
//! }
//!
//! pub(crate) fn route(router: Router) -> Router {
//!     V3.at(router, "/account/whoami", get(handle))
//! }
//! ```
//!
//! # What the frame gives (`use crate::frame::*`)
//!
//! | extractor | what it does |
//! | --- | --- |
//! | [`Json<T>`](frame::Json) | a JSON object whatever its `Content-Type`; absent or empty counts as `{}`; bounds on size and nesting. `Json<T, MAX>` has a size bound of its own |
//! | [`RawJson`](frame::RawJson) | the same checks, the bytes as sent (event contents, account data) |
//! | [`Path<T>`](frame::Path), [`Query<T>`](frame::Query) | percent-decoded parameters; `Vec<String>` fields take repeated query keys (`via`) |
//! | [`Authenticated`](frame::Authenticated), [`MaybeAuthenticated`](frame::MaybeAuthenticated) | the session of the access token |
//! | [`ClientAddress`](frame::ClientAddress) | the client's address, for rate limits |
//! | `State<App>` | the services |
//!
//! Replies: [`Reply<T>`](frame::Reply) (serialised to bytes once), [`RawReply`](frame::RawReply) (JSON bytes already
//! written by a service), [`EmptyReply`](frame::EmptyReply) (`{}`), or any axum response. Errors: a service's
//! [`services::Error`] becomes a standard error response through `?`; that conversion is in `frame/error.rs` and
//! nowhere else.
//!
//! CORS headers, `OPTIONS`, unknown routes (404) and wrong methods (405), both `M_UNRECOGNIZED`, are the frame's too.
//!
//! # What the program gives
//!
//! The peer's socket address as the request extension `axum::extract::ConnectInfo<SocketAddr>`. Requests that come
//! from loopback are taken to come through a proxy, whose `X-Forwarded-For` is then believed.

mod account;
mod account_data;
mod admin;
mod capabilities;
mod device;
mod directory;
mod discovery;
mod ephemeral;
mod filter;
pub mod frame;
mod key_backup;
mod keys;
mod membership;
mod profile;
mod push;
mod rooms;
mod session;
mod sync;
mod tags;
mod to_device;
mod user_directory;
mod voip;

use axum::extract::Request;
use axum::response::Response;
use axum::routing::Route;
use services::Services;
use std::convert::Infallible;
use std::sync::Arc;
use tower::{Layer, Service};

/// The whole client-server API over `services`, with CORS and the answers to unknown routes and methods.
pub fn router(services: Arc<Services>) -> axum::Router {
    router_with(services, axum::Router::new(), ())
}

/// The same, with `more` routes (health, metrics, federation on the same listener) under the same CORS and fallback, and `outer` around
/// every route. `more` must not have a fallback of its own.
pub fn router_with<L>(services: Arc<Services>, more: axum::Router, outer: L) -> axum::Router
where
    L: Layer<frame::Cors<Route>> + Clone + Send + Sync + 'static,
    L::Service: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request>>::Future: Send + 'static,
{
    let router = frame::Router::new();
    let router = account::routes(router);
    let router = account_data::routes(router);
    let router = admin::routes(router);
    let router = capabilities::routes(router);
    let router = device::routes(router);
    let router = directory::routes(router);
    let router = discovery::routes(router);
    let router = ephemeral::routes(router);
    let router = filter::routes(router);
    let router = key_backup::routes(router);
    let router = keys::routes(router);
    let router = membership::routes(router);
    let router = profile::routes(router);
    let router = push::routes(router);
    let router = rooms::routes(router);
    let router = session::routes(router);
    let router = sync::routes(router);
    let router = tags::routes(router);
    let router = to_device::routes(router);
    let router = user_directory::routes(router);
    let router = voip::routes(router);
    frame::finish(router.with_state(services).merge(more), outer)
}
