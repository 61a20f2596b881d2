//! A request's id, its line in the log, and its place in the metrics.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method};
use net::World;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::Instrument as _;

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
        let text = format!("{:08x}-{count}", self.start);
        HeaderValue::from_str(&text).expect("hexadecimal digits, a dash and digits may stand in a header")
    }
}

/// `router` with every route observed.
pub(crate) fn observed(router: Router, observer: Arc<Observer>) -> Router {
    router.layer(from_fn_with_state(observer, observe))
}

async fn observe(State(observer): State<Arc<Observer>>, request: Request, next: Next) -> Response {
    let started = observer.world.monotonic();
    let id = observer.id(&request);
    let verb = verb(request.method());
    // The route, never the path: a path holds room and user ids, and there is no end of paths.
    let endpoint = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default(), endpoint = endpoint.as_str(), method = ?verb);
    let _in_flight = InFlight::enter(&observer.in_flight);

    let mut response = next.run(request).instrument(span.clone()).await;

    let elapsed = observer.world.monotonic().saturating_sub(started);
    let status = response.status().as_u16();
    observer.requests.get_or_create(&Labels { method: verb, endpoint: endpoint.clone(), status }).inc();
    observer.seconds.get_or_create(&Endpoint { endpoint }).observe(elapsed.as_secs_f64());
    let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    if response.status().is_server_error() {
        tracing::warn!(parent: &span, status, milliseconds, "answered with a server error");
    } else {
        tracing::debug!(parent: &span, status, milliseconds, "answered");
    }
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}

/// Counts a request as in flight until it is answered, or dropped because the client went away.
struct InFlight<'a>(&'a Gauge);

impl<'a> InFlight<'a> {
    fn enter(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
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
