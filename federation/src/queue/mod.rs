//! Outbound queues: what has to reach other servers, in order, once each, however often they or we go down.
//!
//! What waits lies in the store ([`QueueStore`]). In memory there is, per destination that something waits for, its back-off, its news
//! (typing, receipts, presence) and, while it is being sent to, one transaction. A destination is sent to by one task, which ends when nothing is left
//! or the destination fails; a failed one is taken up by the scheduler when its time has come, or when it shows itself
//! ([`Queues::peer_seen`]).

mod back_off;
mod metrics;
mod outage;
mod sender;
mod store;
mod transaction;
mod volatile;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use net::World;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use crate::{Client, Edu, discovery::ServerName};
use back_off::BackOff;
use outage::Outage;
use transaction::InFlight;
use volatile::{Item, Volatile};

pub use back_off::{FIRST_WAIT, MAX_ASKED_WAIT, MAX_WAIT, MAX_WAIT_WHEN_BUSY};
pub use metrics::Metrics;
pub use store::{MemoryQueueStore, QueueStore, QueueStoreError, Queued, Row, RowId};
pub use transaction::MAX_TRANSACTION_BYTES;
pub use volatile::MAX_VOLATILE;

/// How many destinations are sent to at once.
pub const MAX_SENDING: usize = 64;

/// How many destinations that failed last time are tried at once, apart from the others, which must not wait for their time-outs.
pub const MAX_TRYING: usize = 16;

/// How much news waits in memory for all destinations together.
pub const MAX_VOLATILE_TOTAL: usize = 50_000;

/// How long after one server the next is contacted, when all of them are.
const CONTACT_EVERY: Duration = Duration::from_millis(50);

/// The queues of all destinations. Cheap to clone.
#[derive(Clone)]
pub struct Queues {
    inner: Arc<Inner>,
}

struct Inner {
    world: World,
    client: Client,
    store: Arc<dyn QueueStore>,
    state: Mutex<State>,
    /// Wakes the scheduler: `due` has changed.
    scheduler: Notify,
    sending: Semaphore,
    trying: Semaphore,
    metrics: Metrics,
    volatile_total: AtomicUsize,
    is_started: AtomicBool,
    is_stopped: AtomicBool,
}

#[derive(Default)]
struct State {
    destinations: BTreeMap<String, Destination>,
    /// When which destination is looked at again, on the monotonic clock.
    due: BTreeSet<(Duration, String)>,
    outage: Outage,
}

/// A destination that there is something to know about.
#[derive(Default)]
struct Destination {
    /// Whether a task is sending to it.
    is_running: bool,
    /// Whether something has come in that this task may not have seen.
    has_more: bool,
    /// Whether it is to hear from us even if nothing waits for it.
    is_to_hear: bool,
    news: Volatile,
    back_off: Option<BackOff>,
    /// Its entry in [`State::due`].
    due: Option<Duration>,
    /// The last moment at which it showed itself.
    seen_at: Option<Duration>,
    /// A transaction whose outcome is open.
    in_flight: Option<InFlight>,
    /// How many rows go into a transaction, if fewer than fit, since it refused more.
    window: Option<usize>,
    /// How often it has refused the one row that is left of them.
    refusals: u32,
}

impl Queues {
    /// Queues that are kept in `store` and sent with `client`. Nothing happens before [`Queues::start`].
    pub fn new(world: World, client: Client, store: Arc<dyn QueueStore>) -> Self {
        let inner = Inner {
            world,
            client,
            store,
            state: Mutex::default(),
            scheduler: Notify::new(),
            sending: Semaphore::new(MAX_SENDING),
            trying: Semaphore::new(MAX_TRYING),
            metrics: Metrics::default(),
            volatile_total: AtomicUsize::new(0),
            is_started: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Begins to send. All destinations with something waiting and all servers that share rooms with us are contacted soon, one after
    /// the other, so that they learn that we are up and end their back-off towards us. Call it once the inbound routes are being served:
    /// they will ask for our keys.
    pub fn start(&self) {
        if self.inner.is_started.swap(true, Ordering::AcqRel) {
            return;
        }
        let queues = self.clone();
        self.inner.world.spawn("federation queues", async move { queues.schedule().await });
        self.contact_all();
    }

    /// Stops sending: what is being sent may finish, nothing new is begun. What waits stays in the store.
    pub fn stop(&self) {
        self.inner.is_stopped.store(true, Ordering::Release);
        self.inner.scheduler.notify_one();
    }

    /// Rows for this destination have been written to the store.
    pub fn wake(&self, destination: &str) {
        self.look_at(destination, |_| {});
    }

    /// Sends typing, receipts or presence to a destination: soon or never. Newer news takes the place of older news about the same.
    /// EDUs of the other kinds must not get lost and belong in the store; here they are refused with an error in the log.
    pub fn send_volatile(&self, destination: &str, edu: Edu) {
        let kind = edu.edu_type();
        let items = Item::of(edu);
        if items.is_empty() {
            tracing::error!(kind, "an EDU that must not get lost was given to the volatile queue");
            return;
        }
        let inner = &self.inner;
        if inner.volatile_total.load(Ordering::Relaxed) >= MAX_VOLATILE_TOTAL {
            Metrics::add(&inner.metrics.volatile_dropped, items.len());
            return;
        }
        self.look_at(destination, |state| {
            let before = state.news.len();
            let dropped: usize = items.into_iter().map(|item| state.news.push(item)).sum();
            Metrics::add(&inner.metrics.volatile_dropped, dropped);
            inner.count_news(before, state.news.len());
        });
    }

    /// This server has just sent us a request with a good signature: if we were waiting before trying it again, the wait is over.
    pub fn peer_seen(&self, server_name: &str) {
        let now = self.inner.world.monotonic();
        let mut state = self.inner.state.lock();
        let state = &mut *state;
        if let Some(destination) = state.destinations.get_mut(server_name) {
            destination.seen_at = Some(now);
            if let Some(back_off) = destination.back_off.filter(|_| !destination.is_running) {
                let back_off = back_off.when_seen(now);
                destination.back_off = Some(back_off);
                set_due(&mut state.due, server_name, destination, Some(back_off.until));
                self.inner.scheduler.notify_one();
            }
        }
        if state.outage.reached(now) {
            self.contact_all();
        }
    }

    /// What has been counted.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// How many destinations failed the last time they were tried.
    pub fn failing(&self) -> usize {
        self.inner.state.lock().destinations.values().filter(|destination| destination.back_off.is_some()).count()
    }

    /// For how long a destination has failed whenever it was tried; `None` if it did not fail the last time.
    pub fn failing_for(&self, destination: &str) -> Option<Duration> {
        let now = self.inner.world.monotonic();
        let state = self.inner.state.lock();
        state.destinations.get(destination)?.back_off.map(|back_off| back_off.outage(now))
    }

    /// Contacts everyone who waits for us or shares rooms with us, one after the other in random order.
    fn contact_all(&self) {
        let queues = self.clone();
        self.inner.world.spawn("contact peers", async move {
            let peers = match queues.inner.everyone().await {
                Ok(peers) => peers,
                Err(error) => {
                    tracing::error!(%error, "cannot read who waits for us; contacting nobody");
                    return;
                }
            };
            for peer in peers {
                if queues.inner.is_stopped.load(Ordering::Acquire) {
                    return;
                }
                let now = queues.inner.world.monotonic();
                queues.look_at(&peer, |destination| {
                    destination.is_to_hear = true;
                    destination.back_off = destination.back_off.map(|back_off| back_off.when_seen(now));
                });
                queues.inner.world.sleep(CONTACT_EVERY).await;
            }
        });
    }

    /// Takes destinations up when they are due.
    async fn schedule(&self) {
        while !self.inner.is_stopped.load(Ordering::Acquire) {
            let now = self.inner.world.monotonic();
            let mut due = Vec::new();
            let next = {
                let mut state = self.inner.state.lock();
                while state.due.first().is_some_and(|(at, _)| *at <= now) {
                    due.extend(state.due.pop_first().map(|(_, destination)| destination));
                }
                for name in &due {
                    if let Some(destination) = state.destinations.get_mut(name) {
                        destination.due = None;
                    }
                }
                state.due.first().map(|(at, _)| at.saturating_sub(now))
            };
            for destination in due {
                self.look_at(&destination, |_| {});
            }
            let notified = self.inner.scheduler.notified();
            match next {
                // Whichever comes first; a time-out is what is waited for.
                Some(wait) => drop(self.inner.world.timeout(wait, notified).await),
                None => notified.await,
            }
        }
    }

    /// Changes what is known of a destination, and starts a task for it unless there is one, or it has to wait.
    fn look_at(&self, name: &str, change: impl FnOnce(&mut Destination)) {
        let inner = &self.inner;
        if name == inner.client.server_name() || ServerName::parse(name).is_err() {
            tracing::error!(name, "that cannot be sent to");
            return;
        }
        {
            let mut state = inner.state.lock();
            let state = &mut *state;
            let destination = state.destinations.entry(name.to_owned()).or_default();
            change(destination);
            if destination.is_running {
                destination.has_more = true;
                return;
            }
            if let Some(back_off) = destination.back_off
                && back_off.until > inner.world.monotonic()
            {
                set_due(&mut state.due, name, destination, Some(back_off.until));
                inner.scheduler.notify_one();
                return;
            }
            if !inner.is_started.load(Ordering::Acquire) || inner.is_stopped.load(Ordering::Acquire) {
                return;
            }
            destination.is_running = true;
            set_due(&mut state.due, name, destination, None);
        }
        let (queues, name) = (self.clone(), name.to_owned());
        inner.world.spawn("send to a server", async move { queues.send_all(&name).await });
    }
}

impl Inner {
    /// Who waits for us or shares rooms with us, in random order.
    async fn everyone(&self) -> Result<Vec<String>, QueueStoreError> {
        let mut everyone: BTreeSet<_> = self.store.destinations().await?.into_iter().collect();
        let peers = self.store.peers().await?;
        self.state.lock().outage.set_peers(peers.len());
        everyone.extend(peers);
        everyone.remove(self.client.server_name());
        let mut everyone: Vec<_> = everyone.into_iter().map(|peer| (self.world.random_bytes::<8>(), peer)).collect();
        everyone.sort_unstable();
        Ok(everyone.into_iter().map(|(_, peer)| peer).collect())
    }

    fn count_news(&self, before: usize, after: usize) {
        if after >= before {
            self.volatile_total.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.volatile_total.fetch_sub(before - after, Ordering::Relaxed);
        }
    }
}

/// Moves a destination's entry in the list of what is due.
fn set_due(due: &mut BTreeSet<(Duration, String)>, name: &str, destination: &mut Destination, at: Option<Duration>) {
    if destination.due == at {
        return;
    }
    if let Some(before) = destination.due {
        due.remove(&(before, name.to_owned()));
    }
    if let Some(at) = at {
        due.insert((at, name.to_owned()));
    }
    destination.due = at;
}
