//! The routes by which other servers ask us. One endpoint, one file.

mod backfill;
mod complaints;
mod event;
mod event_at_time;
mod event_auth;
mod get_missing_events;
mod hierarchy;
mod invite;
mod key_query;
mod key_server;
mod make_join;
mod make_knock;
mod make_leave;
mod openid_userinfo;
mod public_rooms;
mod query_directory;
mod query_profile;
mod reply;
mod request;
mod send;
mod send_join;
mod send_knock;
mod send_leave;
mod state;
mod state_ids;
mod third_party_invite;
mod user_devices;
mod user_keys_claim;
mod user_keys_query;
mod version;

use std::sync::Arc;

use axum::Router;
use net::World;

use crate::{Answers, ApiError, keys::KeyRing, types::ServerVersion};
use complaints::Complaints;
use send::Transactions;

pub use request::MAX_NESTING;

/// What the routes need.
pub struct Inbound {
    /// Clock, tasks.
    pub world: World,
    /// What answers.
    pub answers: Arc<dyn Answers>,
    /// Our keys, and those of whoever asks.
    pub keys: KeyRing,
    /// Told the name of every server whose signature was just verified: it is up, whatever we believed.
    pub seen: Arc<dyn Fn(&str) + Send + Sync>,
    /// What `GET /version` says we are.
    pub version: ServerVersion,
}

/// [`Inbound`] with what the routes remember.
struct Shared {
    inbound: Inbound,
    transactions: Transactions,
    complaints: Complaints,
    published: key_server::Published,
}

type Routes = Router<Arc<Shared>>;

/// All routes of the protocol, and nothing else: for a listener that serves something else too.
pub fn routes(inbound: Inbound) -> Router {
    let shared = Arc::new(Shared {
        inbound,
        transactions: Transactions::default(),
        complaints: Complaints::default(),
        published: key_server::Published::default(),
    });
    let endpoints = [
        backfill::routes,
        event::routes,
        event_at_time::routes,
        event_auth::routes,
        get_missing_events::routes,
        hierarchy::routes,
        invite::routes,
        key_query::routes,
        key_server::routes,
        make_join::routes,
        make_knock::routes,
        make_leave::routes,
        openid_userinfo::routes,
        public_rooms::routes,
        query_directory::routes,
        query_profile::routes,
        send::routes,
        send_join::routes,
        send_knock::routes,
        send_leave::routes,
        state::routes,
        state_ids::routes,
        third_party_invite::routes,
        user_devices::routes,
        user_keys_claim::routes,
        user_keys_query::routes,
        version::routes,
    ];
    let router =
        endpoints.into_iter().fold(Router::new(), |router: Routes, routes: fn() -> Routes| router.merge(routes()));
    router.method_not_allowed_fallback(wrong_method).with_state(shared)
}

/// All routes of the protocol; anything else is 404 `M_UNRECOGNIZED` (server-server API, "Unsupported endpoints").
pub fn router(inbound: Inbound) -> Router {
    routes(inbound).fallback(unrecognized)
}

async fn wrong_method() -> ApiError {
    ApiError::wrong_method()
}

async fn unrecognized() -> ApiError {
    ApiError::unrecognized()
}
