//! Connections: HTTP/1.1 and HTTP/2 on each, bounded in number, and ended gracefully.

use super::address::Proxies;
use super::listener::Protocol;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use net::World;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

/// How long a peer has to complete the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may stay without a (complete) request head. Longer than proxies keep idle connections, so that the
/// end which closes is theirs and no request meets a closed socket.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// How much of a request head is read, over HTTP/1.1 and over HTTP/2.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEAD_BYTES_HTTP2: u32 = 32 * 1024;
/// How many requests at a time one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 256;
/// How often a quiet HTTP/2 connection is asked whether anyone is there, and how long the answer may take.
const PING_EVERY: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Files that are kept for other things than connections: the database, outbound requests.
const RESERVED_FILES: u64 = 1024;
/// The most connections, however many files there may be.
const MAX_CONNECTIONS: u64 = 100_000;

/// What is particular to a listener's connections.
#[derive(Clone)]
pub(crate) struct Traits {
    /// Whose `X-Forwarded-For` counts.
    pub(crate) proxies: Arc<Proxies>,
}

/// All open connections.
pub(crate) struct Connections {
    world: World,
    builder: Builder<TokioExecutor>,
    slots: Arc<Semaphore>,
    ending: CancellationToken,
    tasks: TaskTracker,
    open: AtomicU64,
}

impl Connections {
    /// None yet; as many as `open_files` leave room for.
    pub(crate) fn new(world: World, open_files: u64) -> Arc<Self> {
        let most = open_files.saturating_sub(RESERVED_FILES).max(open_files / 2).min(MAX_CONNECTIONS);
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD_BYTES_HTTP2);
        Arc::new(Self {
            world,
            builder,
            slots: Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(usize::MAX >> 3))),
            ending: CancellationToken::new(),
            tasks: TaskTracker::new(),
            open: AtomicU64::new(0),
        })
    }

    /// How many are open.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Asks every connection to end after the requests it has, takes no new ones, and waits up to `patience`; whether all
    /// ended.
    pub(crate) async fn end(&self, patience: Duration) -> bool {
        self.ending.cancel();
        self.tasks.close();
        self.world.timeout(patience, self.tasks.wait()).await.is_ok()
    }

    /// Completes once [`Connections::end`] is called.
    pub(super) async fn ending(&self) {
        self.ending.cancelled().await;
    }

    /// Waits until there is room for one more connection; nothing once the server ends.
    pub(super) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.ending.cancelled() => None,
            slot = Arc::clone(&self.slots).acquire_owned() => slot.ok(),
        }
    }

    /// Waits a little.
    pub(super) async fn pause(&self, duration: Duration) {
        self.world.sleep(duration).await;
    }

    /// Serves `router` on a fresh connection, in a task of its own.
    pub(super) fn start(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        protocol: Protocol,
        router: Router,
        traits: Traits,
        slot: OwnedSemaphorePermit,
    ) {
        let this = Arc::clone(self);
        let serving = self.tasks.track_future(async move {
            let _slot = slot;
            this.open.fetch_add(1, Ordering::Relaxed);
            let _open = Leaving(&this.open);
            // Answers are written whole; waiting for more to send only delays them.
            let _ = stream.set_nodelay(true);
            match protocol {
                Protocol::Plain => this.serve(stream, peer, router, traits).await,
                Protocol::Tls(acceptor) => match this.world.timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => this.serve(stream, peer, router, traits).await,
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                },
            }
        });
        self.world.spawn("connection", serving);
    }

    async fn serve<S>(&self, stream: S, peer: SocketAddr, router: Router, traits: Traits)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            let client = traits.proxies.client(peer, request.headers_mut());
            request.extensions_mut().insert(ConnectInfo(client));
            // A router is always ready, and cloning one is counting a reference.
            router.clone().call(request.map(Body::new))
        });
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let outcome = tokio::select! {
            biased;
            outcome = connection.as_mut() => outcome,
            () = self.ending.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = outcome {
            tracing::trace!(%peer, %error, "connection ended");
        }
    }
}

/// Counts down when a connection ends, however it ends.
struct Leaving<'a>(&'a AtomicU64);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
