//! `causeway serve`: start-up in order, then waiting, then the end in order.

use crate::admin::Socket;
use crate::cli::ServeArguments;
use crate::config::value::{Listen, LogFormat};
use crate::config::{self, Loaded};
use crate::data_dir::{DataDir, host_name};
use crate::first_steps::Started;
use crate::http::{Connections, Listener, Observer, Observing, Protocol, Proxies, Traits};
use crate::metrics::{Metrics, health_router};
use crate::{limits, logging, start, tls};
use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use net::World;
use prometheus_client::registry::Registry;
use services::Services;
use services::signing_keys::own_keys;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;

/// How long requests under way have at the end; whatever supervises the server waits 10 s.
const PATIENCE: Duration = Duration::from_secs(6);

/// A write to the store failed while the server ran. What of it is on the disk can only be told by opening the store again, so
/// nothing is answered from what this process holds in memory any longer than it takes to end.
#[derive(Debug)]
pub(crate) struct StoreFailed {
    cause: String,
    data_dir: PathBuf,
}

impl std::fmt::Display for StoreFailed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "the server ends because a write to its store failed: {}. Nothing that was acknowledged is lost. See that the file system of {} \
             has room and can be written, then start the server again (a service manager does, see docs/operations.md)",
            self.cause,
            self.data_dir.display()
        )
    }
}

impl std::error::Error for StoreFailed {}

/// Serves until told to stop.
///
/// # Errors
/// Why it cannot start; [`StoreFailed`].
pub(crate) fn run(arguments: &ServeArguments) -> anyhow::Result<()> {
    let loaded = arguments.load()?;
    let checked = config::check(&loaded)?;
    logging::start(&loaded.settings)?;
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    let open_files = limits::raise_open_files();
    let runtime = start::runtime()?;
    let outcome = runtime.block_on(serve(&loaded, checked.federation, open_files));
    // Blocking work that is stuck (a dead disk, a name server) must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve(loaded: &Loaded, federation: bool, open_files: u64) -> anyhow::Result<()> {
    let mut ends = Ends::watch()?;
    let settings = &loaded.settings;
    let data_dir = DataDir::create(settings)?;
    let server_name = data_dir.server_name(settings, || Ok(host_name()))?;
    let world = start::world(loaded)?;

    // Ports before the store: a port that is taken is the likelier mistake, and is said before anything is touched.
    let listeners = Listeners::bind(loaded, federation)?;
    let certificate = certificate(loaded, &world)?;

    let store = start::store(loaded, &data_dir, &world)?;
    let keys = own_keys(&store, &world, &server_name).await?;
    let config = start::services_config(loaded, &server_name, &data_dir);
    let services = Services::new(config, world.clone(), store.clone(), keys);
    services.peers.undo_broken_joins().await?;

    let connections = Connections::new(world.clone(), open_files);
    let mut registry = Registry::with_prefix("causeway");
    let observer = Observer::new(world.clone(), &mut registry);
    let metrics = Metrics::new(registry, store.clone(), Arc::clone(&connections), services.queues.clone());
    let observing = Observing(observer);
    let client_routes = client_api::router_with(Arc::clone(&services), health_router(store.clone()), observing.clone());
    let peer_routes = federation::inbound::router(services.inbound())
        .layer(observing)
        // Where the server's name leads to the address of other servers, they look for this document there.
        .route_service("/.well-known/matrix/server", client_routes.clone().into_service::<Body>());

    let socket = Socket::bind(data_dir.path())?;
    let commands = world.spawn("admin socket", socket.serve(world.clone(), Arc::clone(&services)));

    let proxies = Arc::new(Proxies::new(settings.client.trusted_proxies.iter().map(|network| network.0).collect()));
    let traits = Traits { proxies };
    let protocol = |tls: bool| match (&certificate, tls) {
        (Some(acceptor), true) => Protocol::Tls(acceptor.clone()),
        _ => Protocol::Plain,
    };
    let started = listeners.addresses();
    let both = both(client_routes.clone(), peer_routes.clone());
    let groups = [
        (listeners.clients, protocol(settings.client.tls), client_routes),
        (listeners.peers, protocol(settings.federation.tls), peer_routes),
        (listeners.both, protocol(settings.client.tls), both),
        (listeners.metrics, Protocol::Plain, metrics.router()),
    ];
    for (listeners, protocol, router) in groups {
        for listener in listeners {
            let connections = Arc::clone(&connections);
            let serving = listener.serve(protocol.clone(), router.clone(), traits.clone(), connections);
            world.spawn("listener", serving);
        }
    }

    services.start_clock();
    if federation {
        services.start_federation();
    }
    let unfinished = Arc::clone(&services);
    world.spawn("unfinished work", async move {
        if let Err(error) = unfinished.finish_account_work().await {
            tracing::warn!(%error, "what earlier changes of accounts left to do could not be finished");
        }
        if let Err(error) = unfinished.rooms.resume_sweeps().await {
            tracing::warn!(%error, "a sweep of a room's old states could not be finished");
        }
    });
    announce(loaded, &server_name, &data_dir, federation, &started, &store);
    let failed = tokio::select! {
        biased;
        signal = ends.wait() => {
            tracing::info!(signal, "ending");
            None
        }
        cause = store.until_stopped() => {
            tracing::error!(cause, "ending, because a write to the store failed");
            Some(StoreFailed { cause, data_dir: data_dir.path().to_owned() })
        }
    };
    // Long polls are answered by the services; only then can their connections end.
    services.stopping.cancel();
    let quiet = tokio::select! {
        biased;
        quiet = connections.end(PATIENCE) => quiet,
        _ = ends.wait() => false,
    };
    if !quiet {
        tracing::warn!(open = connections.open(), "some requests did not end in time and are broken off");
    }
    commands.abort();
    tracing::info!("ended");
    failed.map_or(Ok(()), |failed| Err(failed.into()))
}

/// All bound sockets, by what they serve.
struct Listeners {
    clients: Vec<Listener>,
    peers: Vec<Listener>,
    /// Addresses that clients and other servers share.
    both: Vec<Listener>,
    metrics: Vec<Listener>,
}

/// Where the server can be reached.
struct Addresses {
    clients: Vec<SocketAddr>,
    peers: Vec<SocketAddr>,
    metrics: Vec<SocketAddr>,
}

impl Listeners {
    fn bind(loaded: &Loaded, federation: bool) -> anyhow::Result<Self> {
        let settings = &loaded.settings;
        let nobody = Vec::new();
        let peers = if federation { &settings.federation.listen } else { &nobody };
        // Port 0 is a different port each time, so that two of them are never one address.
        let shared = |address: &Listen| peers.contains(address) && !address.0.ends_with(":0");
        let mut bound = Self { clients: Vec::new(), peers: Vec::new(), both: Vec::new(), metrics: Vec::new() };
        for address in &settings.client.listen {
            let group = if shared(address) { &mut bound.both } else { &mut bound.clients };
            group.extend(Listener::bind("client.listen", address)?);
        }
        for address in peers.iter().filter(|address| !(settings.client.listen.contains(address) && shared(address))) {
            bound.peers.extend(Listener::bind("federation.listen", address)?);
        }
        for address in &settings.metrics.listen {
            bound.metrics.extend(Listener::bind("metrics.listen", address)?);
        }
        Ok(bound)
    }

    fn addresses(&self) -> Addresses {
        let of = |groups: [&[Listener]; 2]| groups.into_iter().flatten().map(Listener::address).collect();
        Addresses {
            clients: of([&self.clients, &self.both]),
            peers: of([&self.peers, &self.both]),
            metrics: of([&self.metrics, &[]]),
        }
    }
}

/// The certificate, watched for changes; nothing if none is configured.
fn certificate(loaded: &Loaded, world: &World) -> anyhow::Result<Option<TlsAcceptor>> {
    let files = &loaded.settings.tls;
    let (Some(certificate), Some(key)) = (&files.certificate, &files.key) else { return Ok(None) };
    let certificate = tls::Certificate::open(certificate, key)?;
    let acceptor = TlsAcceptor::from(certificate.server_config().context("TLS cannot be set up")?);
    world.spawn("certificate", certificate.watch(world.clone()));
    Ok(Some(acceptor))
}

/// Routes of an address that serves clients and other servers: the latter by their paths, everything else to clients.
fn both(clients: Router, peers: Router) -> Router {
    Router::new()
        .route_service("/_matrix/federation/{*rest}", peers.clone().into_service::<Body>())
        .route_service("/_matrix/key/{*rest}", peers.into_service::<Body>())
        .fallback_service(clients)
}

fn announce(
    loaded: &Loaded,
    server_name: &str,
    data_dir: &DataDir,
    federation: bool,
    addresses: &Addresses,
    store: &Store,
) {
    let settings = &loaded.settings;
    let kinds = [("client", &addresses.clients), ("federation", &addresses.peers), ("metrics", &addresses.metrics)];
    for (kind, addresses) in kinds {
        for address in addresses {
            tracing::info!(kind, %address, "listening");
        }
    }
    // Beside lines for machines, lines for people would be in the way.
    if settings.log.format == LogFormat::Json {
        return;
    }
    let text = Started {
        server_name,
        data_dir: data_dir.path(),
        clients: (&addresses.clients, settings.client.tls),
        federation: federation.then_some((&addresses.peers[..], settings.federation.tls)),
        metrics: &addresses.metrics,
        empty: store.snapshot().scan_prefix(services::tables::ACCOUNTS, &[]).next().is_none(),
    }
    .text();
    // A server whose standard output is closed serves all the same.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The signals that end the server.
struct Ends {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Ends {
    fn watch() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
