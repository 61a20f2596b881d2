//! Where a server is.

use std::net::SocketAddr;

use async_trait::async_trait;

/// Finds servers by name. [`crate::discovery`] does it by the specification's steps; tests know where their servers are.
#[async_trait]
pub trait Routes: Send + Sync + 'static {
    /// The ways to reach a server, best first; each is tried until one can be connected to.
    ///
    /// # Errors
    ///
    /// [`RouteError`] if there is none.
    async fn routes(&self, server_name: &str) -> Result<Vec<Route>, RouteError>;

    /// A request just failed to reach the server by all of these routes: what is remembered about it may be out of date.
    fn unreachable(&self, _server_name: &str) {}
}

/// One way to reach a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// HTTPS, except in tests.
    pub scheme: Scheme,
    /// Addresses to connect to; the first that answers is taken.
    pub addresses: Vec<SocketAddr>,
    /// The name or IP address that the certificate must be for.
    pub tls_name: String,
    /// The `Host` header.
    pub host: String,
}

/// How to speak to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Over TLS, as the specification demands.
    #[default]
    Https,
    /// In the clear, between servers of a test.
    Http,
}

/// Why a server has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RouteError(pub String);

#[async_trait]
impl Routes for crate::discovery::Discovery {
    async fn routes(&self, server_name: &str) -> Result<Vec<Route>, RouteError> {
        let found = self.find(server_name).await.map_err(|error| RouteError(error.to_string()))?;
        let route = |target: &crate::discovery::Target| Route {
            scheme: Scheme::Https,
            addresses: target.addresses.clone(),
            tls_name: target.tls_name.clone(),
            host: target.host.clone(),
        };
        Ok(found.targets.iter().map(route).collect())
    }

    fn unreachable(&self, server_name: &str) {
        self.doubt(server_name);
    }
}
