//! Under which prefixes an endpoint lives.

use super::{App, Router};
use axum::routing::MethodRouter;

/// The versions of the API that have an endpoint, as path prefixes.
#[derive(Debug, Clone, Copy)]
pub struct Versions(pub &'static [&'static str]);

/// `v3`, and `r0` for clients from before v1.1: what most endpoints use.
pub const V3: Versions = Versions(&["/_matrix/client/v3", "/_matrix/client/r0"]);
/// `v3`, `r0` and `unstable`: endpoints that clients still call by their unstable prefix.
pub const ALL_V3: Versions = Versions(&["/_matrix/client/v3", "/_matrix/client/r0", "/_matrix/client/unstable"]);
/// `v1`.
pub const V1: Versions = Versions(&["/_matrix/client/v1"]);
/// `v1`, `v3` and `r0`.
pub const V1_V3: Versions = Versions(&["/_matrix/client/v1", "/_matrix/client/v3", "/_matrix/client/r0"]);
/// `r0` alone.
pub const R0_ONLY: Versions = Versions(&["/_matrix/client/r0"]);
/// `unstable` alone.
pub const UNSTABLE: Versions = Versions(&["/_matrix/client/unstable"]);

impl Versions {
    /// Registers `methods` at `path` (which starts with `/`) under each of these versions.
    pub fn at(self, mut router: Router, path: &str, methods: MethodRouter<App>) -> Router {
        for prefix in self.0 {
            router = router.route(&format!("{prefix}{path}"), methods.clone());
        }
        router
    }
}
