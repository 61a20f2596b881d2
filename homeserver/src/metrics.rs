//! Figures about the process and the store, for Prometheus.

use crate::http::Connections;
use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use federation::Queues;
use http::{StatusCode, header};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::Store;

/// What OpenMetrics text is called.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All figures.
pub(crate) struct Metrics {
    registry: Registry,
    sampled: Sampled,
    store: Store,
    connections: Arc<Connections>,
    queues: Queues,
}

/// Figures that are looked up when someone asks, so that they cost nothing otherwise.
#[derive(Default)]
struct Sampled {
    resident: Gauge,
    cpu: Gauge<f64, AtomicU64>,
    files: Gauge,
    threads: Gauge,
    tasks: Gauge,
    position: Gauge,
    connections: Gauge,
    groups: Counter,
    syncs: Counter,
    conflicts: Counter,
    destinations_failing: Gauge,
    transactions_sent: Counter,
    transactions_failed: Counter,
    pdus_sent: Counter,
    pdus_refused: Counter,
    edus_sent: Counter,
    volatile_dropped: Counter,
}

impl Metrics {
    /// Adds these figures to those in `registry`.
    pub(crate) fn new(
        mut registry: Registry,
        store: Store,
        connections: Arc<Connections>,
        queues: Queues,
    ) -> Arc<Self> {
        let sampled = Sampled::default();
        registry.register(
            "store_position",
            "Position of the log: how much was ever committed",
            sampled.position.clone(),
        );
        registry.register("store_groups", "Groups of batches written together", sampled.groups.clone());
        registry.register("store_syncs", "Groups that waited for the disk", sampled.syncs.clone());
        registry.register("store_conflicts", "Batches refused because another came first", sampled.conflicts.clone());
        registry.register("connections", "Open connections", sampled.connections.clone());
        registry.register("tasks", "Tasks in the runtime", sampled.tasks.clone());
        registry.register_with_unit(
            "process_resident_memory",
            "Resident memory",
            Unit::Bytes,
            sampled.resident.clone(),
        );
        registry.register_with_unit("process_cpu", "Processor time used", Unit::Seconds, sampled.cpu.clone());
        registry.register("process_open_files", "Open files and sockets", sampled.files.clone());
        registry.register("process_threads", "Threads", sampled.threads.clone());
        let sending = registry.sub_registry_with_prefix("federation");
        sending.register(
            "destinations_failing",
            "Servers that could not be reached the last time",
            sampled.destinations_failing.clone(),
        );
        for (name, help, counter) in [
            ("transactions_sent", "Transactions that were taken", &sampled.transactions_sent),
            ("transactions_failed", "Attempts to send a transaction that failed", &sampled.transactions_failed),
            ("pdus_sent", "Events in transactions that were taken", &sampled.pdus_sent),
            ("pdus_refused", "Events in them that the other server refused", &sampled.pdus_refused),
            ("edus_sent", "EDUs in transactions that were taken", &sampled.edus_sent),
            ("volatile_dropped", "Typing, receipts and presence dropped for want of room", &sampled.volatile_dropped),
        ] {
            sending.register(name, help, counter.clone());
        }
        Arc::new(Self { registry, sampled, store, connections, queues })
    }

    /// `/metrics` and `/health`.
    pub(crate) fn router(self: Arc<Self>) -> Router {
        let health = health_router(self.store.clone());
        Router::new().route("/metrics", get(show)).with_state(self).merge(health)
    }

    fn sample(&self) {
        let sampled = &self.sampled;
        let store = self.store.statistics();
        sampled.position.set(i64::try_from(store.position).unwrap_or(i64::MAX));
        for (counter, counted) in
            [(&sampled.groups, store.groups), (&sampled.syncs, store.syncs), (&sampled.conflicts, store.conflicts)]
        {
            counter.inner().store(counted, Ordering::Relaxed);
        }
        sampled.connections.set(i64::try_from(self.connections.open()).unwrap_or(i64::MAX));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            sampled.tasks.set(i64::try_from(runtime.metrics().num_alive_tasks()).unwrap_or(i64::MAX));
        }
        sampled.destinations_failing.set(i64::try_from(self.queues.failing()).unwrap_or(i64::MAX));
        let sending = self.queues.metrics();
        for (counter, counted) in [
            (&sampled.transactions_sent, &sending.transactions_sent),
            (&sampled.transactions_failed, &sending.transactions_failed),
            (&sampled.pdus_sent, &sending.pdus_sent),
            (&sampled.pdus_refused, &sending.pdus_refused),
            (&sampled.edus_sent, &sending.edus_sent),
            (&sampled.volatile_dropped, &sending.volatile_dropped),
        ] {
            counter.inner().store(counted.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        sampled.resident.set(resident_bytes().unwrap_or_default());
        sampled.cpu.set(cpu_seconds());
        sampled.files.set(entries("/proc/self/fd"));
        sampled.threads.set(entries("/proc/self/task"));
    }
}

async fn show(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    metrics.sample();
    let mut text = String::new();
    match encode(&mut text, &metrics.registry) {
        Ok(()) => Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text)),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            Err(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// `/health`: whether the server is up, and its store can be read and written.
pub(crate) fn health_router(store: Store) -> Router {
    Router::new().route("/health", get(health)).with_state(store)
}

async fn health(State(store): State<Store>) -> impl IntoResponse {
    if store.stopped().is_some() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "a write to the store failed (the log says why); the server ends, to be started again\n",
        );
    }
    let probe = services::tables::ALL.first().map(|table| store.snapshot().get(*table, b"health"));
    match probe {
        Some(Err(error)) => {
            tracing::error!(%error, "the store cannot be read");
            (StatusCode::SERVICE_UNAVAILABLE, "the store cannot be read\n")
        }
        _ => (StatusCode::OK, "OK\n"),
    }
}

fn resident_bytes() -> Option<i64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    // SAFETY: takes a constant, changes nothing.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * page)
}

fn cpu_seconds() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a live value of the right type, and an all-zero rusage is a valid one.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn entries(folder: &str) -> i64 {
    fs::read_dir(folder).map_or(0, |entries| i64::try_from(entries.count()).unwrap_or(i64::MAX))
}
