//! Server discovery: from a server name to addresses, certificate name and `Host`, by the numbered steps of the server-server API,
//! "Resolving server names".

mod cache_control;
mod server_name;
mod well_known;

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use lru::LruCache;
use net::{Answer, LookupError, Srv, World};
use parking_lot::Mutex;

pub use server_name::{Host, ServerName, ServerNameError};
use well_known::WellKnown;
pub use well_known::{
    DEFAULT_VALIDITY, FIRST_FAILURE_VALIDITY, MAX_BYTES, MAX_FAILURE_VALIDITY, MAX_REDIRECTS, MAX_VALIDITY,
    MIN_VALIDITY,
};

/// The port of a server that names none (registered with IANA for `matrix-fed`).
pub const DEFAULT_PORT: u16 = 8448;

/// How long what was found is kept, at least and at most, whatever DNS and web server say.
pub const MIN_RESULT_VALIDITY: Duration = Duration::from_secs(10);
/// See [`MIN_RESULT_VALIDITY`].
pub const MAX_RESULT_VALIDITY: Duration = Duration::from_secs(60 * 60);

/// How long it is kept that DNS did not answer.
const FAILED_LOOKUP_VALIDITY: Duration = Duration::from_secs(30);

/// How many servers are remembered.
const MAX_SERVERS: usize = 4096;

/// The most SRV records of one server that are followed.
const MAX_SRV_TARGETS: usize = 8;

/// Finds servers, and remembers where they are. Cheap to clone.
#[derive(Clone)]
pub struct Discovery {
    inner: Arc<Inner>,
}

/// What a test decides about discovery.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The port of `/.well-known/matrix/server`: 443, except for a test that may not listen there.
    pub well_known_port: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { well_known_port: 443 }
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The step that found it.
    pub step: Step,
    /// The ways to reach it, best first; each is to be tried until one can be connected to. More than one if it has several SRV records.
    pub targets: Vec<Target>,
    /// How long this may be kept.
    pub valid_for: Duration,
}

/// One way to reach a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// All addresses of one host, in the order to try them; at least one.
    pub addresses: Vec<SocketAddr>,
    /// The DNS name or IP address (without brackets) that the certificate must be for.
    pub tls_name: String,
    /// The `Host` header.
    pub host: String,
}

/// The numbered steps of "Resolving server names".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// 1: the server name is an IP literal.
    IpLiteral,
    /// 2: the server name has a port.
    ExplicitPort,
    /// 3.1: delegated to an IP literal.
    DelegatedIpLiteral,
    /// 3.2: delegated to a name with a port.
    DelegatedExplicitPort,
    /// 3.3: delegated to a name with a `_matrix-fed._tcp` record.
    DelegatedSrv,
    /// 3.4: delegated to a name with a `_matrix._tcp` record (deprecated).
    DelegatedDeprecatedSrv,
    /// 3.5: delegated to a name without such records.
    DelegatedDefaultPort,
    /// 4: a `_matrix-fed._tcp` record.
    Srv,
    /// 5: a `_matrix._tcp` record (deprecated).
    DeprecatedSrv,
    /// 6: nothing but the name.
    DefaultPort,
}

/// Why a server cannot be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// It has no server name.
    #[error(transparent)]
    Name(#[from] ServerNameError),
    /// The host that it is on has no address.
    #[error("cannot find {server} (step {step} of server discovery): {cause}")]
    NoAddress {
        /// The server.
        server: String,
        /// The step that had to find the address.
        step: Step,
        /// What the lookup said.
        cause: LookupError,
    },
}

struct Inner {
    world: World,
    well_known: WellKnown,
    found: Mutex<LruCache<String, (Arc<Found>, Duration)>>,
    /// Discoveries under way, so that many requests to one server share one.
    under_way: Mutex<HashMap<String, WeakShared<Outcome>>>,
}

type Outcome = BoxFuture<'static, Result<Arc<Found>, DiscoveryError>>;

impl Discovery {
    /// Discovery through this world's DNS and HTTP.
    pub fn new(world: World, options: Options) -> Self {
        let capacity = NonZeroUsize::new(MAX_SERVERS).unwrap_or(NonZeroUsize::MIN);
        let inner = Inner {
            well_known: WellKnown::new(world.clone(), options.well_known_port),
            world,
            found: Mutex::new(LruCache::new(capacity)),
            under_way: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Where this server is, from memory or found out.
    ///
    /// # Errors
    ///
    /// [`DiscoveryError`] if that is not a server name, or leads to no address.
    pub async fn find(&self, server_name: &str) -> Result<Arc<Found>, DiscoveryError> {
        if let Some((found, expires)) = self.inner.found.lock().get(server_name)
            && *expires > self.inner.world.monotonic()
        {
            return Ok(found.clone());
        }
        self.join(server_name)?.await
    }

    /// Requests to this server have failed by all ways: what is known about it is looked up again before its time.
    pub fn doubt(&self, server_name: &str) {
        self.inner.found.lock().pop(server_name);
        if let Ok(name) = ServerName::parse(server_name)
            && let Host::Dns(host) = name.host()
        {
            self.inner.well_known.doubt(host);
        }
    }

    fn join(&self, server_name: &str) -> Result<Shared<Outcome>, DiscoveryError> {
        let mut under_way = self.inner.under_way.lock();
        if let Some(shared) = under_way.get(server_name).and_then(WeakShared::upgrade) {
            return Ok(shared);
        }
        let name = ServerName::parse(server_name)?;
        let inner = self.inner.clone();
        let outcome = async move {
            let outcome = inner.find(&name).await.map(Arc::new);
            if let Ok(found) = &outcome {
                let expires = inner.world.monotonic().saturating_add(found.valid_for);
                inner.found.lock().put(name.as_str().to_owned(), (found.clone(), expires));
            }
            inner.under_way.lock().remove(name.as_str());
            outcome
        };
        let shared = outcome.boxed().shared();
        // Those whose callers have all gone away are never polled to their end.
        under_way.retain(|_, other| other.upgrade().is_some());
        if let Some(weak) = shared.downgrade() {
            under_way.insert(server_name.to_owned(), weak);
        }
        Ok(shared)
    }
}

impl Inner {
    async fn find(&self, name: &ServerName) -> Result<Found, DiscoveryError> {
        let mut search = Search { world: &self.world, server: name, valid_for: MAX_RESULT_VALIDITY };
        let (step, targets) = match (name.host(), name.port()) {
            // Step 1. If the hostname is an IP literal, then that IP address should be used, together with the given port number, or
            // 8448 if no port is given.
            (Host::Ip(address), port) => (Step::IpLiteral, search.literal(*address, port, name)),
            // Step 2. If the hostname is not an IP literal, and the server name includes an explicit port, resolve the hostname.
            (Host::Dns(host), Some(port)) => {
                (Step::ExplicitPort, search.host(Step::ExplicitPort, host, port, name.as_str()).await?)
            }
            (Host::Dns(host), None) => {
                // Step 3. A regular HTTPS request is made to https://<hostname>/.well-known/matrix/server.
                let delegation = self.well_known.delegation(host).await;
                search.note(delegation.valid_for);
                match delegation.to {
                    Some(to) => search.delegated(&to).await?,
                    // If the response is invalid, skip to step 4.
                    None => search.by_name(host, [Step::Srv, Step::DeprecatedSrv, Step::DefaultPort]).await?,
                }
            }
        };
        Ok(Found { step, targets, valid_for: search.valid_for.clamp(MIN_RESULT_VALIDITY, MAX_RESULT_VALIDITY) })
    }
}

/// One discovery under way.
struct Search<'a> {
    world: &'a World,
    server: &'a ServerName,
    valid_for: Duration,
}

impl Search<'_> {
    /// Takes into account that something used is valid for this long only.
    fn note(&mut self, valid_for: Duration) {
        self.valid_for = self.valid_for.min(valid_for);
    }

    /// Steps 3.1 to 3.5.
    async fn delegated(&mut self, to: &ServerName) -> Result<(Step, Vec<Target>), DiscoveryError> {
        match (to.host(), to.port()) {
            // Step 3.1.
            (Host::Ip(address), port) => Ok((Step::DelegatedIpLiteral, self.literal(*address, port, to))),
            // Step 3.2.
            (Host::Dns(host), Some(port)) => {
                let step = Step::DelegatedExplicitPort;
                Ok((step, self.host(step, host, port, to.as_str()).await?))
            }
            // Steps 3.3 to 3.5.
            (Host::Dns(host), None) => {
                let steps = [Step::DelegatedSrv, Step::DelegatedDeprecatedSrv, Step::DelegatedDefaultPort];
                self.by_name(host, steps).await
            }
        }
    }

    /// Steps 1 and 3.1: the address itself, which its certificate must be for; `Host` has a port only if the name has.
    fn literal(&self, address: IpAddr, port: Option<u16>, name: &ServerName) -> Vec<Target> {
        let addresses = vec![SocketAddr::new(address, port.unwrap_or(DEFAULT_PORT))];
        vec![Target { addresses, tls_name: address.to_string(), host: name.as_str().to_owned() }]
    }

    /// Steps 2 and 3.2: the addresses of a host whose port is known.
    async fn host(&mut self, step: Step, host: &str, port: u16, header: &str) -> Result<Vec<Target>, DiscoveryError> {
        let addresses = self.addresses(step, host, port).await?;
        Ok(vec![Target { addresses, tls_name: host.to_owned(), host: header.to_owned() }])
    }

    /// Steps 4 to 6, and 3.3 to 3.5: SRV by its name, SRV by its old name, the host itself. The certificate must be for the host
    /// in all cases, because DNS is not to be trusted with more than addresses.
    async fn by_name(&mut self, host: &str, steps: [Step; 3]) -> Result<(Step, Vec<Target>), DiscoveryError> {
        let [by_srv, by_deprecated_srv, by_default_port] = steps;
        for (step, service) in [(by_srv, "_matrix-fed._tcp"), (by_deprecated_srv, "_matrix._tcp")] {
            if let Some(records) = self.srv(&format!("{service}.{host}")).await {
                return Ok((step, self.srv_targets(step, host, records).await?));
            }
        }
        let addresses = self.addresses(by_default_port, host, DEFAULT_PORT).await?;
        Ok((by_default_port, vec![Target { addresses, tls_name: host.to_owned(), host: host.to_owned() }]))
    }

    /// The SRV records of that name; nothing if there are none, or if DNS does not say: most servers have none.
    async fn srv(&mut self, name: &str) -> Option<Vec<Srv>> {
        match self.world.resolver().lookup_srv(name).await {
            Ok(Answer { records, valid_for }) => {
                self.note(valid_for);
                Some(records)
            }
            Err(LookupError::Absent { valid_for, .. }) => {
                self.note(valid_for);
                None
            }
            Err(error) => {
                tracing::debug!(%error, "going on without this SRV record");
                self.note(FAILED_LOOKUP_VALIDITY);
                None
            }
        }
    }

    async fn srv_targets(&mut self, step: Step, host: &str, records: Vec<Srv>) -> Result<Vec<Target>, DiscoveryError> {
        let mut targets = Vec::new();
        let mut failure = None;
        for record in records.into_iter().take(MAX_SRV_TARGETS) {
            match self.addresses(step, &record.target, record.port).await {
                Ok(addresses) => {
                    targets.push(Target { addresses, tls_name: host.to_owned(), host: host.to_owned() });
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(error) if targets.is_empty() => Err(error),
            _ => Ok(targets),
        }
    }

    async fn addresses(&mut self, step: Step, host: &str, port: u16) -> Result<Vec<SocketAddr>, DiscoveryError> {
        match self.world.resolver().lookup_ip(host).await {
            Ok(Answer { records, valid_for }) => {
                self.note(valid_for);
                Ok(records.into_iter().map(|address| SocketAddr::new(address, port)).collect())
            }
            Err(cause) => Err(DiscoveryError::NoAddress { server: self.server.as_str().to_owned(), step, cause }),
        }
    }
}

impl Step {
    /// The number in the specification.
    pub fn number(self) -> &'static str {
        match self {
            Self::IpLiteral => "1",
            Self::ExplicitPort => "2",
            Self::DelegatedIpLiteral => "3.1",
            Self::DelegatedExplicitPort => "3.2",
            Self::DelegatedSrv => "3.3",
            Self::DelegatedDeprecatedSrv => "3.4",
            Self::DelegatedDefaultPort => "3.5",
            Self::Srv => "4",
            Self::DeprecatedSrv => "5",
            Self::DefaultPort => "6",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.number())
    }
}
