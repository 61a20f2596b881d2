//! A request's id, its line in the log, and its place in the metrics.

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method};
use net::World;
use parking_lot::RwLock;
use pin_project_lite::pin_project;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tower::{Layer, Service};
use tracing::Span;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken from a request; longer ones are replaced.
const MAX_REQUEST_ID: usize = 64;
/// Upper ends of the histogram's buckets, in seconds. Beyond the last lie only long polls.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Which request it was; every value comes from a bounded set, whatever clients send.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: Verb,
    endpoint: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Endpoint {
    endpoint: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(clippy::upper_case_acronyms)]
enum Verb {
    GET,
    POST,
    PUT,
    DELETE,
    OPTIONS,
    OTHER,
}

/// What observes requests.
pub(crate) struct Observer {
    world: World,
    requests: Family<Labels, Counter>,
    seconds: Family<Endpoint, Histogram>,
    in_flight: Gauge,
    /// Ids are this start's random number and a count.
    start: u32,
    count: AtomicU64,
}

impl Observer {
    /// Registers its metrics.
    pub(crate) fn new(world: World, registry: &mut Registry) -> Arc<Self> {
        let seconds = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let observer = Self {
            requests: Family::default(),
            seconds,
            in_flight: Gauge::default(),
            start: u32::from_be_bytes(world.random_bytes()),
            count: AtomicU64::new(0),
            world,
        };
        registry.register("http_requests", "Requests answered", observer.requests.clone());
        registry.register("http_request_seconds", "Time from request to answer", observer.seconds.clone());
        registry.register("http_requests_in_flight", "Requests being answered", observer.in_flight.clone());
        Arc::new(observer)
    }

    fn id(&self, request: &Request) -> HeaderValue {
        let given = request.headers().get(X_REQUEST_ID);
        let plain = |value: &&HeaderValue| {
            (1..=MAX_REQUEST_ID).contains(&value.len())
                && value.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
        };
        if let Some(given) = given.filter(plain) {
            return given.clone();
        }
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut text = [0; MAX_REQUEST_ID];
        let mut rest = &mut text[..];
        let _ = write!(rest, "{:08x}-{count}", self.start);
        let rest = rest.len();
        HeaderValue::from_bytes(&text[..MAX_REQUEST_ID - rest])
            .expect("hexadecimal digits, a dash and digits may stand in a header")
    }
}

/// Around every route of a router: gives the requests ids, and measures them.
#[derive(Clone)]
pub(crate) struct Observing(pub(crate) Arc<Observer>);

impl<S> Layer<S> for Observing {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, observer: Arc::clone(&self.0), endpoint: Arc::default() }
    }
}

/// A route that is observed.
#[derive(Clone)]
pub(crate) struct Observed<S> {
    inner: S,
    observer: Arc<Observer>,
    /// What is kept of its endpoint. A layer is put around each route apart, so that it is always the same one.
    endpoint: Arc<OnceLock<Measured>>,
}

/// An endpoint's place in the metrics, found once.
struct Measured {
    endpoint: String,
    seconds: Histogram,
    /// Of the answers that there have been: few kinds, so that looking through them costs less than finding them by their names.
    requests: RwLock<Vec<((Verb, u16), Counter)>>,
}

impl Measured {
    fn new(observer: &Observer, path: Option<&MatchedPath>) -> Self {
        // The route, never the path: a path holds room and user ids, and there is no end of paths.
        let endpoint = path.map_or("unknown", MatchedPath::as_str).to_owned();
        let seconds = observer.seconds.get_or_create(&Endpoint { endpoint: endpoint.clone() }).clone();
        Self { endpoint, seconds, requests: RwLock::default() }
    }

    fn count(&self, observer: &Observer, verb: Verb, status: u16) {
        let of = |known: &[((Verb, u16), Counter)]| {
            known.iter().find(|(kind, _)| *kind == (verb, status)).map(|(_, counter)| counter.inc())
        };
        if of(&self.requests.read()).is_some() {
            return;
        }
        let mut known = self.requests.write();
        if of(&known).is_none() {
            let labels = Labels { method: verb, endpoint: self.endpoint.clone(), status };
            let counter = observer.requests.get_or_create(&labels).clone();
            counter.inc();
            known.push(((verb, status), counter));
        }
    }
}

impl<S: Service<Request, Response = Response>> Service<Request> for Observed<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { inner, observer, endpoint } = self;
        let started = observer.world.monotonic();
        let id = observer.id(&request);
        let verb = verb(request.method());
        let measured = endpoint.get_or_init(|| Measured::new(observer, request.extensions().get::<MatchedPath>()));
        // Shown as they are: nothing in them would have to be escaped, and each request pays for looking.
        let id_text = id.to_str().unwrap_or_default();
        let span = tracing::info_span!("request", id = %id_text, endpoint = %measured.endpoint, method = ?verb);
        let in_flight = InFlight::enter(Arc::clone(observer));
        let inner = span.in_scope(|| inner.call(request));
        Answering { inner, id: Some(id), verb, started, span, endpoint: Arc::clone(endpoint), in_flight }
    }
}

pin_project! {
    /// A request that is being answered.
    #[project = AnsweringProjection]
    pub(crate) struct Answering<F> {
        #[pin]
        inner: F,
        id: Option<HeaderValue>,
        verb: Verb,
        started: Duration,
        span: Span,
        endpoint: Arc<OnceLock<Measured>>,
        in_flight: InFlight,
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for Answering<F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let AnsweringProjection { inner, id, verb, started, span, endpoint, in_flight } = self.project();
        let mut response = {
            let _entered = span.enter();
            ready!(inner.poll(context))?
        };
        let observer = &in_flight.0;
        let elapsed = observer.world.monotonic().saturating_sub(*started);
        let status = response.status().as_u16();
        if let Some(measured) = endpoint.get() {
            measured.count(observer, *verb, status);
            measured.seconds.observe(elapsed.as_secs_f64());
        }
        let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        if response.status().is_server_error() {
            tracing::warn!(parent: &*span, status, milliseconds, "answered with a server error");
        } else {
            tracing::debug!(parent: &*span, status, milliseconds, "answered");
        }
        if let Some(id) = id.take() {
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        Poll::Ready(Ok(response))
    }
}

/// Counts a request as in flight until it is answered, or dropped because the client went away.
struct InFlight(Arc<Observer>);

impl InFlight {
    fn enter(observer: Arc<Observer>) -> Self {
        observer.in_flight.inc();
        Self(observer)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

fn verb(method: &Method) -> Verb {
    match *method {
        Method::GET => Verb::GET,
        Method::POST => Verb::POST,
        Method::PUT => Verb::PUT,
        Method::DELETE => Verb::DELETE,
        Method::OPTIONS => Verb::OPTIONS,
        _ => Verb::OTHER,
    }
}
