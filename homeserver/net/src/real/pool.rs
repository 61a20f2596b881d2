//! Connections that wait for their next request.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::dial::Sender;

/// How long an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The most connections that are kept for later; beyond, the one unused for longest is closed.
const MAX_IDLE: usize = 256;

/// Where a connection leads: an address, and who proved to be there (nobody without TLS).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) peer: SocketAddr,
    pub(crate) tls_name: Option<Arc<str>>,
}

/// Open connections by where they lead.
#[derive(Default)]
pub(crate) struct Pool {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: HashMap<Key, Vec<Idle>>,
    count: usize,
    sweeping: bool,
}

struct Idle {
    sender: Sender,
    since: Instant,
}

impl Pool {
    /// An open connection to the first of these that has one. An HTTP/2 connection stays here for others too.
    pub(crate) fn take<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Option<(Key, Sender)> {
        let mut state = self.state.lock();
        for key in keys {
            while let Some(mut idle) = state.pop(key) {
                if idle.sender.is_closed() {
                    continue;
                }
                let sender = match &idle.sender {
                    Sender::Http2(sender) => Sender::Http2(sender.clone()),
                    Sender::Http1(_) => return Some((key.clone(), idle.sender)),
                };
                idle.since = Instant::now();
                state.push(key.clone(), idle);
                return Some((key.clone(), sender));
            }
        }
        None
    }

    /// Keeps a connection that is ready for another request.
    pub(crate) fn put(self: &Arc<Self>, key: Key, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut state = self.state.lock();
        let shared = matches!(sender, Sender::Http2(_));
        if shared && state.idle.get(&key).is_some_and(|known| known.iter().any(|idle| !idle.sender.is_closed())) {
            return;
        }
        if state.count >= MAX_IDLE {
            state.drop_oldest();
        }
        state.push(key, Idle { sender, since: Instant::now() });
        if !state.sweeping {
            state.sweeping = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

impl State {
    fn pop(&mut self, key: &Key) -> Option<Idle> {
        let waiting = self.idle.get_mut(key)?;
        let idle = waiting.pop();
        if waiting.is_empty() {
            self.idle.remove(key);
        }
        self.count -= usize::from(idle.is_some());
        idle
    }

    fn push(&mut self, key: Key, idle: Idle) {
        self.idle.entry(key).or_default().push(idle);
        self.count += 1;
    }

    fn drop_oldest(&mut self) {
        // Within one key the first is the oldest: the last is taken and put back.
        let oldest = self
            .idle
            .iter()
            .filter_map(|(key, waiting)| Some((waiting.first()?.since, key)))
            .min_by_key(|(since, _)| *since);
        let Some(key) = oldest.map(|(_, key)| key.clone()) else { return };
        if let Some(waiting) = self.idle.get_mut(&key) {
            waiting.remove(0);
            self.count -= 1;
            if waiting.is_empty() {
                self.idle.remove(&key);
            }
        }
    }

    fn drop_unused(&mut self) {
        self.idle.retain(|_, waiting| {
            waiting.retain(|idle| idle.since.elapsed() < IDLE_TIMEOUT && !idle.sender.is_closed());
            waiting.shrink_to_fit();
            !waiting.is_empty()
        });
        self.count = self.idle.values().map(Vec::len).sum();
    }
}

/// Closes what has been unused for long, as long as there is anything.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(IDLE_TIMEOUT / 4).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut state = pool.state.lock();
        state.drop_unused();
        if state.count == 0 {
            state.sweeping = false;
            return;
        }
    }
}
