//! The key ring: keys of other servers, fetched when needed, once at a time, and not again too soon.

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc, time::Duration};

use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, Shared, WeakShared},
    stream,
};
use lru::LruCache;
use net::{Timestamp, World};
use parking_lot::Mutex;
use state_res::sign::VerifyKey;
use tokio::sync::Semaphore;

use super::{EventTime, KeyDocument, KeyStore, MAX_VALIDITY, OwnKeys, ServerKeys};
use crate::{client::Client, ids::is_server_name};

/// How many servers' keys are kept in memory; the rest is in the store.
const MAX_IN_MEMORY: usize = 1024;

/// How many servers that could not be asked are remembered.
const MAX_FAILURES: usize = 1024;

/// How many servers are asked at once.
const MAX_CONCURRENT_FETCHES: usize = 32;

/// How many servers are asked at once of which nothing is known but that a request names them. Anyone can make up names that lead
/// nowhere; they must not hold up the others.
const MAX_CONCURRENT_STRANGERS: usize = 32;

/// How many servers one batch asks at once.
const MAX_CONCURRENT_IN_BATCH: usize = 16;

/// How long a server has to answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);

/// A server is not asked again within this time of a good answer, however many unknown keys its name is used with.
const MIN_REFETCH: Duration = Duration::from_secs(10);

/// How soon a server that did not answer is asked again; doubles with each failure.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);

/// The longest that a server is left alone for the sake of events.
const MAX_BACK_OFF: Duration = Duration::from_secs(300);

/// The longest that a server is left alone when a request in its name is at the door: it is likely to be back.
const MAX_BACK_OFF_FOR_REQUESTS: Duration = Duration::from_secs(4);

/// A key that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRequest {
    /// Whose.
    pub server_name: String,
    /// Its id, with the algorithm.
    pub key_id: String,
    /// The time of the event that it signed.
    pub at: EventTime,
}

/// Why a key is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The server's keys could not be fetched.
    #[error("the keys of {server_name} cannot be fetched: {because}")]
    Unreachable {
        /// Whose keys.
        server_name: String,
        /// What happened.
        because: String,
    },
    /// The server has no such key, or its validity does not reach to the time asked for.
    #[error("{server_name} has no key {key_id} that was valid then")]
    NoSuchKey {
        /// Whose keys.
        server_name: String,
        /// Which key.
        key_id: String,
    },
    /// That is no server name.
    #[error("{0:?} is not a server name")]
    NotAServer(String),
}

impl KeyError {
    /// The same in words for other servers: without what was found out about how one of them is reached from here.
    pub fn for_others(&self) -> String {
        match self {
            Self::Unreachable { server_name, .. } => format!("the keys of {server_name} cannot be fetched"),
            Self::NoSuchKey { .. } | Self::NotAServer(_) => self.to_string(),
        }
    }
}

/// Keys of other servers. Cheap to clone.
#[derive(Clone)]
pub struct KeyRing {
    inner: Arc<Inner>,
}

struct Inner {
    world: World,
    client: Client,
    own: Arc<OwnKeys>,
    own_record: Arc<ServerKeys>,
    store: Arc<dyn KeyStore>,
    notaries: Vec<String>,
    known: Mutex<LruCache<String, Arc<ServerKeys>>>,
    failures: Mutex<LruCache<String, Failure>>,
    flights: Mutex<BTreeMap<String, WeakShared<Flight>>>,
    fetches: Semaphore,
    stranger_fetches: Semaphore,
}

type Flight = BoxFuture<'static, Result<Arc<ServerKeys>, KeyError>>;

#[derive(Clone)]
struct Failure {
    failures: u32,
    /// On the monotonic clock.
    at: Duration,
    error: KeyError,
}

/// What a key is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Request,
    Event(EventTime),
}

impl KeyRing {
    /// A key ring that fetches with `client`, remembers in `store`, and asks `notaries` about servers that do not answer.
    pub fn new(
        world: World,
        client: Client,
        own: Arc<OwnKeys>,
        store: Arc<dyn KeyStore>,
        notaries: Vec<String>,
    ) -> Self {
        let inner = Inner {
            world,
            client,
            own_record: Arc::new(own.as_server_keys()),
            own,
            store,
            notaries,
            known: Mutex::new(LruCache::new(size(MAX_IN_MEMORY))),
            failures: Mutex::new(LruCache::new(size(MAX_FAILURES))),
            flights: Mutex::default(),
            fetches: Semaphore::new(MAX_CONCURRENT_FETCHES),
            stranger_fetches: Semaphore::new(MAX_CONCURRENT_STRANGERS),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Our own keys.
    pub fn own(&self) -> &Arc<OwnKeys> {
        &self.inner.own
    }

    /// The world that the ring lives in.
    pub(crate) fn world(&self) -> &World {
        &self.inner.world
    }

    /// The key by which a server signs requests now.
    ///
    /// # Errors
    ///
    /// [`KeyError`]: the server cannot be asked, or it does not use such a key now.
    pub async fn for_request(&self, server_name: &str, key_id: &str) -> Result<VerifyKey, KeyError> {
        let keys = self.find(server_name, &[(key_id, Purpose::Request)]).await?;
        let key = keys.for_request(key_id, self.inner.world.now()).cloned();
        key.ok_or_else(|| no_such_key(server_name, key_id))
    }

    /// The keys for the signatures of events, as far as they are to be had: known ones at once, the others from their servers, several
    /// at a time.
    pub async fn for_events(&self, wanted: impl IntoIterator<Item = KeyRequest>) -> FoundKeys {
        let mut by_server: BTreeMap<String, Vec<KeyRequest>> = BTreeMap::new();
        for request in wanted {
            by_server.entry(request.server_name.clone()).or_default().push(request);
        }
        let found = stream::iter(by_server).map(|(server_name, requests)| async move {
            let purposes: Vec<_> =
                requests.iter().map(|request| (request.key_id.as_str(), Purpose::Event(request.at))).collect();
            let found = self.find(&server_name, &purposes).await;
            (server_name, found)
        });
        let by_server = found.buffer_unordered(MAX_CONCURRENT_IN_BATCH).collect().await;
        FoundKeys { by_server }
    }

    /// Everything that is known of a server, fetched anew if it does not reach to `valid_until`; for notaries' answers.
    pub(crate) async fn known(&self, server_name: &str, valid_until: Timestamp) -> Option<Arc<ServerKeys>> {
        let known = self.remembered(server_name).await;
        let is_good = known.as_ref().is_some_and(|known| known.document.is_some() && known.valid_until >= valid_until);
        if is_good || !self.may_fetch(server_name, known.as_deref(), MAX_BACK_OFF) {
            return known;
        }
        // Anyone may ask a notary about anyone.
        self.fetch(server_name, known.is_none()).await.ok().or(known)
    }

    /// What is known of a server, fetched anew if that lacks one of the keys.
    async fn find(&self, server_name: &str, wanted: &[(&str, Purpose)]) -> Result<Arc<ServerKeys>, KeyError> {
        if !is_server_name(server_name) {
            return Err(KeyError::NotAServer(server_name.chars().take(64).collect()));
        }
        if server_name == self.inner.own.server_name {
            return Ok(self.inner.own_record.clone());
        }
        let now = self.inner.world.now();
        let known = self.remembered(server_name).await;
        let horizon = now.plus(MAX_VALIDITY);
        let lacks = |keys: &ServerKeys| {
            wanted.iter().any(|(key_id, purpose)| match purpose {
                Purpose::Request => keys.for_request(key_id, now).is_none(),
                // No answer that is given now reaches further than the seven days.
                Purpose::Event(EventTime::Within(at)) if *at > horizon => false,
                Purpose::Event(time) => keys.for_event(key_id, *time).is_none(),
            })
        };
        if let Some(known) = &known
            && !lacks(known)
        {
            return Ok(known.clone());
        }
        let is_request = wanted.iter().any(|(_, purpose)| *purpose == Purpose::Request);
        let max_back_off = if is_request { MAX_BACK_OFF_FOR_REQUESTS } else { MAX_BACK_OFF };
        if !self.may_fetch(server_name, known.as_deref(), max_back_off) {
            let failed = self.inner.failures.lock().peek(server_name).map(|failure| failure.error.clone());
            return match (known, failed) {
                (Some(known), _) => Ok(known),
                (None, Some(error)) => Err(error),
                (None, None) => Err(no_such_key(server_name, wanted.first().map_or("", |(key_id, _)| *key_id))),
            };
        }
        match (self.fetch(server_name, is_request && known.is_none()).await, known) {
            (Ok(keys), _) => Ok(keys),
            // Some of what is wanted may be there all the same.
            (Err(error), Some(known)) => {
                tracing::debug!(%error, "going on with the keys known before");
                Ok(known)
            }
            (Err(error), None) => Err(error),
        }
    }

    fn may_fetch(&self, server_name: &str, known: Option<&ServerKeys>, max_back_off: Duration) -> bool {
        let now = self.inner.world.now();
        if known.is_some_and(|known| known.fetched_at <= now && now.since(known.fetched_at) < MIN_REFETCH) {
            return false;
        }
        let failures = self.inner.failures.lock();
        failures.peek(server_name).is_none_or(|failure| {
            let doublings = failure.failures.saturating_sub(1).min(16);
            let back_off = FIRST_BACK_OFF.saturating_mul(1 << doublings).min(max_back_off);
            self.inner.world.monotonic() >= failure.at.saturating_add(back_off)
        })
    }

    /// From memory or the store.
    async fn remembered(&self, server_name: &str) -> Option<Arc<ServerKeys>> {
        if server_name == self.inner.own.server_name {
            return Some(self.inner.own_record.clone());
        }
        if let Some(known) = self.inner.known.lock().get(server_name) {
            return Some(known.clone());
        }
        let record = match self.inner.store.load(server_name).await {
            Ok(record) => record?,
            Err(error) => {
                tracing::warn!(%error, server_name, "cannot read remembered keys");
                return None;
            }
        };
        let keys = Arc::new(ServerKeys::from_bytes(&record)?);
        let mut known = self.inner.known.lock();
        // A fetch may have been faster.
        Some(known.get_or_insert(server_name.to_owned(), || keys).clone())
    }

    /// Fetches a server's keys; whoever wants the same meanwhile waits for the same fetch.
    async fn fetch(&self, server_name: &str, is_stranger: bool) -> Result<Arc<ServerKeys>, KeyError> {
        let flight: Shared<Flight> = {
            let mut flights = self.inner.flights.lock();
            flights.retain(|_, flight| flight.upgrade().is_some());
            match flights.get(server_name).and_then(WeakShared::upgrade) {
                Some(flight) => flight,
                None => {
                    let flight = fetch_now(self.clone(), server_name.to_owned(), is_stranger).boxed().shared();
                    if let Some(weak) = flight.downgrade() {
                        flights.insert(server_name.to_owned(), weak);
                    }
                    flight
                }
            }
        };
        flight.await
    }

    async fn fetch_document(&self, server_name: &str) -> Result<(KeyDocument, bool), KeyError> {
        let inner = &*self.inner;
        let unreachable = |because: String| KeyError::Unreachable { server_name: server_name.to_owned(), because };
        let direct = async {
            let raw = inner.client.server_keys(server_name).await.map_err(|error| error.to_string())?;
            KeyDocument::read(server_name, raw).map_err(|error| error.to_string())
        };
        let because = match inner.world.timeout(FETCH_TIMEOUT, direct).await {
            Ok(Ok(document)) => return Ok((document, true)),
            Ok(Err(because)) => because,
            Err(elapsed) => elapsed.to_string(),
        };
        for notary in &inner.notaries {
            if notary == server_name {
                continue;
            }
            match inner.world.timeout(FETCH_TIMEOUT, self.ask_notary(notary, server_name)).await {
                Ok(Ok(document)) => return Ok((document, false)),
                Ok(Err(error)) => tracing::debug!(notary, server_name, error, "a notary does not help"),
                Err(elapsed) => tracing::debug!(notary, server_name, %elapsed, "a notary does not answer"),
            }
        }
        Err(unreachable(because))
    }

    /// A notary's copy of a server's document, signed by both.
    async fn ask_notary(&self, notary: &str, server_name: &str) -> Result<KeyDocument, String> {
        let keys = match self.remembered(notary).await {
            Some(keys) if keys.valid_until >= self.inner.world.now() => keys,
            // Not through `fetch`, which would wait for itself where two notaries are asked about each other.
            _ => {
                let raw = self.inner.client.server_keys(notary).await.map_err(|error| error.to_string())?;
                let document = KeyDocument::read(notary, raw).map_err(|error| error.to_string())?;
                self.learn(notary, &document, true).await
            }
        };
        let now = self.inner.world.now();
        let question = BTreeMap::from([(server_name.to_owned(), BTreeMap::new())]);
        let documents = self.inner.client.notary_keys(notary, &question).await.map_err(|error| error.to_string())?;
        let mut best: Option<KeyDocument> = None;
        for raw in documents {
            let Ok(object) = raw.parse::<serde_json::Map<_, _>>() else { continue };
            let is_signed = keys.keys.keys().any(|key_id| {
                keys.for_request(key_id, now)
                    .is_some_and(|key| state_res::sign::verify_json(&object, notary, key_id, key).is_ok())
            });
            if let Some(document) = KeyDocument::read(server_name, raw).ok().filter(|_| is_signed)
                && best.as_ref().is_none_or(|best| best.valid_until < document.valid_until)
            {
                best = Some(document);
            }
        }
        best.ok_or_else(|| "it has no keys of that server, signed by both".to_owned())
    }

    async fn learn(&self, server_name: &str, document: &KeyDocument, direct: bool) -> Arc<ServerKeys> {
        let mut keys = self.remembered(server_name).await.map(|known| (*known).clone()).unwrap_or_default();
        keys.learn(document, self.inner.world.now(), direct);
        let keys = Arc::new(keys);
        self.inner.known.lock().put(server_name.to_owned(), keys.clone());
        if let Err(error) = self.inner.store.save(server_name, keys.to_bytes()).await {
            tracing::warn!(%error, server_name, "cannot remember keys");
        }
        keys
    }
}

async fn fetch_now(ring: KeyRing, server_name: String, is_stranger: bool) -> Result<Arc<ServerKeys>, KeyError> {
    let inner = &*ring.inner;
    let fetches = if is_stranger { &inner.stranger_fetches } else { &inner.fetches };
    let _permit = fetches.acquire().await;
    match ring.fetch_document(&server_name).await {
        Ok((document, direct)) => {
            inner.failures.lock().pop(&server_name);
            Ok(ring.learn(&server_name, &document, direct).await)
        }
        Err(error) => {
            let mut known = inner.failures.lock();
            let failures = known.peek(&server_name).map_or(0, |failure| failure.failures).saturating_add(1);
            known.put(server_name, Failure { failures, at: inner.world.monotonic(), error: error.clone() });
            Err(error)
        }
    }
}

/// Keys that [`KeyRing::for_events`] found.
#[derive(Clone, Debug, Default)]
pub struct FoundKeys {
    by_server: BTreeMap<String, Result<Arc<ServerKeys>, KeyError>>,
}

impl FoundKeys {
    /// The key, if it may have signed an event of this time.
    pub fn get(&self, server_name: &str, key_id: &str, time: EventTime) -> Option<VerifyKey> {
        self.by_server.get(server_name)?.as_ref().ok()?.for_event(key_id, time).cloned()
    }

    /// Why the keys of a server are not there, if they could not be fetched: then the events may be good, and worth another try later.
    pub fn error(&self, server_name: &str) -> Option<&KeyError> {
        self.by_server.get(server_name)?.as_ref().err()
    }
}

fn no_such_key(server_name: &str, key_id: &str) -> KeyError {
    KeyError::NoSuchKey { server_name: server_name.to_owned(), key_id: key_id.chars().take(64).collect() }
}

fn size(size: usize) -> NonZeroUsize {
    NonZeroUsize::new(size).unwrap_or(NonZeroUsize::MIN)
}
