//! Sending to one destination until nothing is left or it fails.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;

use super::{
    BackOff, Destination, InFlight, Metrics, QueueStoreError, Queues, RowId,
    back_off::Failure,
    set_due,
    transaction::{MAX_ROWS, Selected},
};
use crate::{Edu, RawJson, client::RequestError, types::TransactionAnswer};

/// So often a destination may refuse one row as nonsense before the row is given up.
const MAX_REFUSALS: u32 = 5;

/// How long to wait when the store fails.
const WAIT_FOR_STORE: Duration = Duration::from_secs(5);

/// A transaction about to be sent.
struct Attempt {
    in_flight: InFlight,
    body: Bytes,
    pdus: usize,
    edus: usize,
}

/// Sees to it that a destination whose task panics is tried again: nobody else would know that the task is gone.
struct Bystander<'a> {
    queues: &'a Queues,
    name: &'a str,
}

impl Drop for Bystander<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let now = self.queues.inner.world.monotonic();
            self.queues.rest(self.name, |destination| {
                let failed = BackOff::after_failure(destination.back_off, now, u8::MAX / 2, None, Failure::Away);
                destination.back_off = Some(failed);
            });
        }
    }
}

enum Next {
    Continue,
    Stop,
}

impl Queues {
    /// The task of one destination; there is one at a time.
    pub(super) async fn send_all(&self, name: &str) {
        let _bystander = Bystander { queues: self, name };
        loop {
            if self.inner.is_stopped.load(Ordering::Acquire) {
                self.rest(name, |_| {});
                return;
            }
            // Who is only busy does not wait for its turn among those who are away, each of whom takes until its time-out.
            let is_away = self
                .inner
                .state
                .lock()
                .destinations
                .get(name)
                .and_then(|destination| destination.back_off)
                .is_some_and(|back_off| !back_off.is_busy);
            let permits = if is_away { &self.inner.trying } else { &self.inner.sending };
            let _permit = permits.acquire().await;
            match self.prepare(name).await {
                Ok(None) => {
                    if self.rest_if_done(name) {
                        return;
                    }
                }
                Ok(Some(attempt)) => {
                    let began = self.inner.world.monotonic();
                    let sent =
                        self.inner.client.send_transaction(name, &attempt.in_flight.txn_id, attempt.body.clone()).await;
                    let next = match sent {
                        Ok(answer) => self.taken(name, attempt, answer).await,
                        Err(error) => self.failed(name, attempt, error, began).await,
                    };
                    if matches!(next, Next::Stop) {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, destination = name, "cannot read what waits");
                    self.wait_for_store(name);
                    return;
                }
            }
        }
    }

    /// The next transaction, or the last one again if its outcome is open.
    async fn prepare(&self, name: &str) -> Result<Option<Attempt>, QueueStoreError> {
        let (in_flight, window) = {
            let mut state = self.inner.state.lock();
            let Some(destination) = state.destinations.get_mut(name) else { return Ok(None) };
            // What comes in from here on may not be seen below.
            destination.has_more = false;
            (destination.in_flight.clone(), destination.window.unwrap_or(MAX_ROWS))
        };
        if let Some(in_flight) = in_flight {
            let selected = match in_flight.through {
                Some((through, count)) => {
                    let mut rows = self.inner.store.pending(name, count).await?;
                    rows.retain(|row| row.id <= through);
                    Selected::from_rows(rows)
                }
                None => Selected::default(),
            };
            return Ok(Some(self.attempt(&selected, in_flight)));
        }
        let selected = Selected::from_rows(self.inner.store.pending(name, window).await?);
        let (items, edus) = {
            let mut state = self.inner.state.lock();
            let Some(destination) = state.destinations.get_mut(name) else { return Ok(None) };
            if selected.through.is_none() && destination.news.is_empty() && !destination.is_to_hear {
                return Ok(None);
            }
            let before = destination.news.len();
            let taken = destination.news.take(selected.free_edus());
            self.inner.count_news(before, destination.news.len());
            taken
        };
        let edus: Vec<RawJson> = edus.iter().map(Edu::to_raw).collect();
        let in_flight = InFlight {
            txn_id: selected.txn_id(name, &edus, self.inner.world.random_bytes()),
            may_have_arrived: false,
            through: selected.through,
            formed_at: self.inner.world.now().millis(),
            items,
            edus,
        };
        Ok(Some(self.attempt(&selected, in_flight)))
    }

    fn attempt(&self, selected: &Selected, in_flight: InFlight) -> Attempt {
        let body = selected.body(self.inner.client.server_name(), &in_flight);
        Attempt { body, pdus: selected.pdus.len(), edus: selected.edus.len() + in_flight.edus.len(), in_flight }
    }

    async fn taken(&self, name: &str, attempt: Attempt, answer: TransactionAnswer) -> Next {
        let metrics = &self.inner.metrics;
        Metrics::add(&metrics.transactions_sent, 1);
        Metrics::add(&metrics.pdus_sent, attempt.pdus);
        Metrics::add(&metrics.edus_sent, attempt.edus);
        for (event_id, result) in answer.pdus {
            if let Some(error) = result.error {
                Metrics::add(&metrics.pdus_refused, 1);
                let (event_id, error): (String, String) =
                    (event_id.chars().take(64).collect(), error.chars().take(256).collect());
                tracing::debug!(destination = name, event_id, error, "a peer refused an event");
            }
        }
        if let Some((through, _)) = attempt.in_flight.through
            && let Err(error) = self.inner.store.acknowledge(name, through).await
        {
            // The same transaction goes out again, and is known to the peer by its id.
            tracing::error!(%error, destination = name, "cannot delete what has been sent");
            let in_flight = InFlight { may_have_arrived: true, ..attempt.in_flight };
            self.inner.with(name, |destination| destination.in_flight = Some(in_flight));
            self.wait_for_store(name);
            return Next::Stop;
        }
        self.inner.with(name, |destination| {
            destination.back_off = None;
            destination.in_flight = None;
            destination.window = None;
            destination.refusals = 0;
            destination.is_to_hear = false;
        });
        if self.inner.state.lock().outage.reached(self.inner.world.monotonic()) {
            self.contact_all();
        }
        Next::Continue
    }

    async fn failed(&self, name: &str, attempt: Attempt, error: RequestError, began: Duration) -> Next {
        Metrics::add(&self.inner.metrics.transactions_failed, 1);
        // Below: the peer has read it and says that it is nonsense, not that it is busy or does not know us.
        let is_refusal = error.peer().is_some_and(|peer| matches!(peer.status, 400 | 413 | 422));
        let asked = error.peer().and_then(|peer| peer.retry_after_ms()).map(Duration::from_millis);
        if self.inner.with(name, |destination| destination.back_off.is_none()) == Some(true) {
            tracing::info!(destination = name, %error, "a transaction has failed; until one succeeds, further failures are logged as debug");
        } else {
            tracing::debug!(destination = name, %error, "a transaction has failed again");
        }
        let given_up = if is_refusal { self.refused(name, &attempt, &error) } else { None };
        if let Some(through) = given_up
            && let Err(error) = self.inner.store.acknowledge(name, through).await
        {
            tracing::error!(%error, destination = name, "cannot delete what is given up");
        }
        let now = self.inner.world.monotonic();
        let [jitter] = self.inner.world.random_bytes();
        let failure = if error.is_busy() { Failure::Busy } else { Failure::Away };
        if error.is_unreachable() {
            self.inner.state.lock().outage.failed(name);
        }
        self.rest(name, |destination| {
            let mut back_off = BackOff::after_failure(destination.back_off, now, jitter, asked, failure);
            if destination.seen_at.is_some_and(|seen_at| seen_at >= began) {
                back_off = back_off.when_seen(now);
            }
            destination.back_off = Some(back_off);
            // Nobody who is down needs to hear that we are up; when it comes back, it will ask or be asked for something.
            destination.is_to_hear = false;
            let mut in_flight = attempt.in_flight;
            in_flight.may_have_arrived |= !error.is_unsent();
            if is_refusal {
                // It has not taken it, and would not take it again.
                destination.in_flight = None;
            } else if in_flight.may_have_arrived {
                destination.in_flight = Some(in_flight);
            } else {
                let before = destination.news.len();
                destination.news.put_back(in_flight.items);
                self.inner.count_news(before, destination.news.len());
            }
        });
        Next::Stop
    }

    /// The destination says that a transaction makes no sense: smaller ones will show which row it is. Gives the row, once that has been
    /// found and tried often enough.
    fn refused(&self, name: &str, attempt: &Attempt, error: &RequestError) -> Option<RowId> {
        let (through, count) = attempt.in_flight.through?;
        let gives_up = self.inner.with(name, |destination| {
            if count > 1 {
                destination.window = Some(count / 2);
                return false;
            }
            destination.window = Some(1);
            destination.refusals += 1;
            let gives_up = destination.refusals >= MAX_REFUSALS;
            if gives_up {
                destination.refusals = 0;
            }
            gives_up
        });
        if gives_up != Some(true) {
            return None;
        }
        tracing::warn!(destination = name, %error, ?through, "a peer keeps refusing one thing that waits for it; it is given up");
        Metrics::add(&self.inner.metrics.rows_given_up, 1);
        Some(through)
    }

    fn wait_for_store(&self, name: &str) {
        let until = self.inner.world.monotonic().saturating_add(WAIT_FOR_STORE);
        self.rest(name, |_| {});
        let mut state = self.inner.state.lock();
        let state = &mut *state;
        if let Some(destination) = state.destinations.get_mut(name).filter(|destination| !destination.is_running) {
            set_due(&mut state.due, name, destination, Some(until));
        }
        self.inner.scheduler.notify_one();
    }

    /// Ends the task of a destination: changes what is known of it, and sees to it that it is looked at again when it has to be.
    fn rest(&self, name: &str, change: impl FnOnce(&mut Destination)) {
        let mut state = self.inner.state.lock();
        let state = &mut *state;
        if let Some(destination) = state.destinations.get_mut(name) {
            destination.is_running = false;
            change(destination);
            let until = destination.back_off.map(|back_off| back_off.until);
            set_due(&mut state.due, name, destination, until);
            self.inner.scheduler.notify_one();
        }
    }

    /// Ends the task of a destination that nothing waits for, unless something has come in meanwhile.
    fn rest_if_done(&self, name: &str) -> bool {
        let now = self.inner.world.monotonic();
        let mut state = self.inner.state.lock();
        let state = &mut *state;
        let Some(destination) = state.destinations.get_mut(name) else { return true };
        if destination.has_more {
            return false;
        }
        destination.is_running = false;
        let forgotten_at = destination.back_off.map(|back_off| back_off.forgotten_at());
        match forgotten_at {
            Some(at) if at > now => {
                set_due(&mut state.due, name, destination, Some(at));
                self.inner.scheduler.notify_one();
            }
            _ => {
                set_due(&mut state.due, name, destination, None);
                state.destinations.remove(name);
            }
        }
        true
    }
}

impl super::Inner {
    fn with<T>(&self, name: &str, change: impl FnOnce(&mut Destination) -> T) -> Option<T> {
        self.state.lock().destinations.get_mut(name).map(change)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use async_trait::async_trait;
    use net::{RealOptions, TlsRoots, World};
    use state_res::sign::SigningKey;

    use super::{QueueStoreError, Queues, RowId};
    use crate::{
        Client,
        discovery::{Discovery, Options},
        keys::OwnKeys,
        queue::{QueueStore, Row},
    };

    /// A store that panics when it is read for the first time.
    #[derive(Default)]
    struct Panicking {
        reads: AtomicUsize,
    }

    #[async_trait]
    impl QueueStore for Panicking {
        async fn destinations(&self) -> Result<Vec<String>, QueueStoreError> {
            Ok(vec!["x.example".to_owned()])
        }

        async fn peers(&self) -> Result<Vec<String>, QueueStoreError> {
            Ok(Vec::new())
        }

        async fn pending(&self, _: &str, _: usize) -> Result<Vec<Row>, QueueStoreError> {
            assert!(self.reads.fetch_add(1, Ordering::AcqRel) > 0, "the first read");
            Err(QueueStoreError("not this time either".to_owned()))
        }

        async fn acknowledge(&self, _: &str, _: RowId) -> Result<(), QueueStoreError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_destination_whose_task_panics_is_tried_again() {
        let world = World::real(RealOptions { roots: TlsRoots::ExtraOnly, ..RealOptions::default() }).unwrap();
        let current = SigningKey::from_seed("1", [1; 32]).unwrap();
        let own = Arc::new(OwnKeys { server_name: "own.example".to_owned(), current, old: Vec::new() });
        let routes = Arc::new(Discovery::new(world.clone(), Options::default()));
        let store = Arc::new(Panicking::default());
        let queues = Queues::new(world.clone(), Client::new(world.clone(), own, routes), store.clone());
        queues.start();
        for _ in 0..600 {
            if store.reads.load(Ordering::Acquire) > 1 {
                queues.stop();
                return;
            }
            world.sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody looks at the destination any more");
    }
}
