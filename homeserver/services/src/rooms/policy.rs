//! Policy servers: a server that a room has chosen to look at its events before they reach anybody (server-server API, "Policy Servers").
//!
//! Nobody is asked while a room's queue is held. Who sends an event of ours lets go of the room, asks, and begins again
//! ([`super::Rooms::write`]); who receives one likewise (`crate::peers`).

use super::reader::RoomReader;
use super::writer::NewEvent;
use crate::error::{Error, Result};
use crate::peers::{is_about_asker, is_for_clients, remote_error};
use federation::Client;
use federation::client::{PeerError, RequestError};
use lru::LruCache;
use net::World;
use parking_lot::Mutex;
use serde_json::Value;
use state_res::pdu::Pdu;
use state_res::sign::{VerifyKey, verify_event_by, with_signature};
use state_res::tree::Root;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use storage::Topic;
use tokio::sync::{Notify, Semaphore};

/// The id of the key by which a policy server signs. Servers do not publish it: the room's state has it.
pub const KEY_ID: &str = "ed25519:policy_server";
/// The type of the state event that names a policy server.
pub(super) const TYPE: &str = "m.room.policy";

/// How long a policy server has to sign an event, the wait for others that it is asked about included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// About how many events one policy server is asked at a time.
const MAX_ASKED_AT_ONCE: usize = 16;
/// How long a policy server that gave no answer is left alone; doubles each time that it gives none again.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// The longest such wait, also where it asks for a longer one.
const MAX_WAIT: Duration = Duration::from_secs(5 * 60);
/// For how long an answer shows that a policy server is there.
const LATELY: Duration = Duration::from_secs(60);
/// Policy servers about which that is remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not 0");

/// Wakes who asks again about events of which policy servers have said nothing.
#[must_use]
pub fn topic() -> Topic {
    Topic::of("unanswered", b"")
}

/// The policy server that a room uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyServer {
    via: String,
    /// `None` where what the room has for a key is none: then nothing is validated.
    key: Option<VerifyKey>,
}

impl PolicyServer {
    /// The policy server that a room uses in the state `root`, which is its current one; `None` if it uses none.
    ///
    /// # Errors
    /// A failing store.
    pub fn of(reader: &RoomReader, root: Root) -> Result<Option<Self>> {
        match reader.state_event(root, TYPE, "")? {
            Some(event) => Self::named_by(&event, |server| reader.has_server(server)),
            None => Ok(None),
        }
    }

    /// The policy server that the room's `m.room.policy` event with an empty state key names, if the event is valid and the server has a
    /// joined user in the room, which `is_joined` says.
    ///
    /// # Errors
    /// As `is_joined`.
    pub fn named_by(event: &Pdu, is_joined: impl FnOnce(&str) -> Result<bool>) -> Result<Option<Self>> {
        let content = event.content();
        let Some(via) = content.get("via").and_then(Value::as_str) else { return Ok(None) };
        let key = content.get("public_keys").and_then(|keys| keys.as_object()?.get("ed25519")?.as_str());
        let Some(key) = key else { return Ok(None) };
        if !is_joined(via)? {
            return Ok(None);
        }
        // The specification's own example is in the URL-safe alphabet.
        let key = VerifyKey::from_base64(&key.replace('-', "+").replace('_', "/")).ok();
        Ok(Some(Self { via: via.to_owned(), key }))
    }

    /// Its server name.
    #[must_use]
    pub fn via(&self) -> &str {
        &self.via
    }

    /// Whether it recommends an event: has signed it, or is not to be asked about it, as rooms must be able to do without it.
    #[must_use]
    pub fn recommends(&self, event: &Pdu) -> bool {
        event.is_state_of(TYPE, "") || self.has_signed(event)
    }

    fn has_signed(&self, event: &Pdu) -> bool {
        let key = |_: &str, id: &str| (id == KEY_ID).then(|| self.key.clone()).flatten();
        verify_event_by(event, &self.via, key).is_ok()
    }
}

/// For whom a policy server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// For a user of ours, who gets to know what it says.
    Ours,
    /// For an event of another server; not while it is left alone.
    Theirs,
    /// For one that waits for its word, where there is reason to believe that it is there.
    Waiting,
}

/// Why an event has no valid signature of a policy server.
#[derive(Debug)]
pub struct NotSigned {
    /// What a client is told.
    pub error: Error,
    /// Whether the policy server has said nothing of the event, so that it may sign it when it is asked later.
    pub is_open: bool,
}

impl NotSigned {
    fn refused(error: Error) -> Self {
        Self { error, is_open: false }
    }

    fn open(error: Error) -> Self {
        Self { error, is_open: true }
    }
}

impl From<NotSigned> for Error {
    fn from(not_signed: NotSigned) -> Self {
        not_signed.error
    }
}

/// What asks policy servers.
pub struct PolicyServers {
    world: World,
    own_name: String,
    client: OnceLock<Client>,
    known: Mutex<LruCache<String, Arc<Known>>>,
    /// One that had given no answer has given one.
    back: Notify,
}

struct Known {
    places: Semaphore,
    away: Mutex<Option<Away>>,
    /// When it last gave an answer, on the monotonic clock.
    answered: Mutex<Option<Duration>>,
}

/// A policy server that gave no answer. Times are on the monotonic clock.
#[derive(Clone, Copy)]
struct Away {
    /// When it last gave none.
    last: Duration,
    /// Nobody asks it about other servers' events before this.
    until: Duration,
    /// How often it gave none, one time after the other.
    times: u32,
}

impl PolicyServers {
    pub(super) fn new(world: World, own_name: &str) -> Self {
        let known = Mutex::new(LruCache::new(REMEMBERED));
        Self { world, own_name: own_name.to_owned(), client: OnceLock::new(), known, back: Notify::new() }
    }

    /// From now on they can be asked, by way of this client.
    pub fn connect(&self, client: Client) {
        // Once is enough; nobody has two.
        let _ = self.client.set(client);
    }

    /// For how long a policy server that gave no answer is still left alone; `None` if it gave one when it was last asked, or was not asked yet.
    #[must_use]
    pub fn left_alone_for(&self, policy: &PolicyServer) -> Option<Duration> {
        let away = *self.known(policy).away.lock();
        away.map(|away| away.until.saturating_sub(self.world.monotonic()))
    }

    /// Whether a policy server has given an answer of late, and has been asked nothing in vain since.
    #[must_use]
    pub fn is_there(&self, policy: &PolicyServer) -> bool {
        let known = self.known(policy);
        let answered = *known.answered.lock();
        known.away.lock().is_none() && answered.is_some_and(|at| self.world.monotonic() < at + LATELY)
    }

    /// Waits until one that gave no answer gives one.
    pub async fn one_is_back(&self) {
        self.back.notified().await;
    }

    fn known(&self, policy: &PolicyServer) -> Arc<Known> {
        let new = || {
            let places = Semaphore::new(MAX_ASKED_AT_ONCE);
            Arc::new(Known { places, away: Mutex::default(), answered: Mutex::default() })
        };
        Arc::clone(self.known.lock().get_or_insert(policy.via.clone(), new))
    }

    /// Whether a policy server may be asked about another server's event. Of one that is away, one asker finds out whether it is back.
    fn claim(&self, known: &Known) -> bool {
        let now = self.world.monotonic();
        let mut away = known.away.lock();
        match away.as_mut() {
            Some(away) if now < away.until => false,
            Some(away) => {
                away.until = now + TIMEOUT;
                true
            }
            None => true,
        }
    }

    /// A policy server, asked at `began`, has given no answer; it may have said when it wants to be asked again.
    fn gave_none(&self, known: &Known, began: Duration, asked: Option<Duration>) {
        let now = self.world.monotonic();
        let mut away = known.away.lock();
        // Those who asked at the same time have found out the same.
        let times = match *away {
            Some(away) if away.last > began => away.times,
            before => before.map_or(0, |away| away.times) + 1,
        };
        let [jitter] = self.world.random_bytes();
        // Three quarters to five quarters, so that not all servers of a room come back together.
        let wait = FIRST_WAIT.saturating_mul(1 << (times - 1).min(16)).min(MAX_WAIT) * (384 + u32::from(jitter)) / 512;
        let wait = wait.max(asked.unwrap_or_default()).min(MAX_WAIT);
        *away = Some(Away { last: now, until: now + wait, times });
    }

    /// It has given one, whatever it was.
    fn gave_one(&self, known: &Known) {
        *known.answered.lock() = Some(self.world.monotonic());
        if known.away.lock().take().is_some() {
            self.back.notify_one();
        }
    }

    /// The event with a valid signature of the room's policy server. Hold no room while this goes on.
    ///
    /// # Errors
    /// The policy server's own error where it refuses, for the client to see; 502 `M_UNKNOWN` where it cannot be asked or its signature is
    /// not valid; 403 `M_FORBIDDEN` where nobody can sign, as the room's key is none or the room has chosen this server.
    pub async fn sign(&self, policy: &PolicyServer, event: &Pdu, whose: Whose) -> Result<Pdu, NotSigned> {
        if policy.recommends(event) {
            return Ok(event.clone());
        }
        if policy.via == self.own_name {
            return Err(NotSigned::refused(Error::forbidden(format!(
                "The room has chosen {} as its policy server, which is none; until `{TYPE}` is changed, nothing can be sent.",
                policy.via
            ))));
        }
        if policy.key.is_none() {
            return Err(NotSigned::refused(Error::forbidden(format!(
                "The key of the room's policy server, in `{TYPE}`, is no Ed25519 key; until that is changed, nothing can be sent."
            ))));
        }
        let signatures = self.ask(policy, event, whose).await?;
        let unfit = |why: &str| {
            let error = format!("The room's policy server {} answered with {why}.", policy.via);
            NotSigned::refused(Error::new(502, "M_UNKNOWN", error))
        };
        let signature = signatures.get(&policy.via).and_then(|keys| keys.get(KEY_ID));
        let signature = signature.ok_or_else(|| unfit("no signature"))?;
        let signed = with_signature(event, &policy.via, KEY_ID, signature)
            .map_err(|error| NotSigned::refused(super::writer::pdu_error(error)))?;
        if !policy.has_signed(&signed) {
            return Err(unfit("a signature by another key than the one in the room's state"));
        }
        Ok(signed)
    }

    /// The signatures that a policy server gives for an event.
    async fn ask(
        &self,
        policy: &PolicyServer,
        event: &Pdu,
        whose: Whose,
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, NotSigned> {
        let client = self
            .client
            .get()
            .ok_or_else(|| NotSigned::open(Error::internal("a policy server is to be asked before the start")))?;
        let cannot = |why: &dyn std::fmt::Display| {
            Error::new(502, "M_UNKNOWN", format!("The room's policy server {} could not be asked: {why}.", policy.via))
        };
        let known = self.known(policy);
        // Who sends something of ours finds out for themselves: they wait for nobody else, and nobody waits for them.
        if whose == Whose::Theirs && !self.claim(&known) {
            return Err(NotSigned::open(cannot(&"it failed to answer a moment ago")));
        }
        let began = self.world.monotonic();
        let asking = async {
            let place = known.places.acquire().await;
            let answer = client.policy_sign(&policy.via, event.canonical().to_vec().into()).await;
            drop(place);
            answer
        };
        let Ok(answer) = self.world.timeout(TIMEOUT, asking).await else {
            self.gave_none(&known, began, None);
            return Err(NotSigned::open(cannot(&format_args!("it did not answer within {TIMEOUT:?}"))));
        };
        let error = match answer {
            Ok(signatures) => {
                self.gave_one(&known);
                return Ok(signatures);
            }
            Err(error) => error,
        };
        let status = error.peer().map(|peer| peer.status);
        let is_away = error.is_unreachable() || status == Some(429);
        if is_away {
            let asked = error.peer().and_then(PeerError::retry_after_ms).map(Duration::from_millis);
            self.gave_none(&known, began, asked);
        } else {
            self.gave_one(&known);
        }
        // An error of its own, or an answer that is none, says nothing of the event.
        let is_open = is_away || status.is_none() || status.is_some_and(|status| status >= 500);
        let error = refusal(&error).unwrap_or_else(|| cannot(&error.for_others()));
        Err(NotSigned { error, is_open })
    }
}

/// What the policy server itself said, if it said something: "that error SHOULD be provided to the client verbatim".
fn refusal(error: &RequestError) -> Option<Error> {
    let peer = error.peer().filter(|peer| !peer.is_unrecognized() && peer.body.contains_key("errcode"))?;
    if is_for_clients(peer) {
        let api = peer.to_api_error();
        return Some(Error { status: api.status, errcode: api.errcode, message: api.message, extra: api.extra });
    }
    if (400..500).contains(&peer.status) || is_about_asker(&peer.errcode) {
        return Some(remote_error(error));
    }
    // It says so itself, so that its words are worth more than ours; but it is not we who failed.
    Some(Error { status: 502, errcode: peer.errcode.clone().into(), message: peer.message.clone(), extra: None })
}

/// An event of ours that waits for the policy server's word.
pub(super) struct Unsigned {
    /// What it was made from.
    pub(super) source: NewEvent,
    /// The event.
    pub(super) event: Pdu,
    /// The events before it, with the state after each.
    pub(super) previous: Vec<(String, Root)>,
    /// Whom to ask.
    pub(super) policy: PolicyServer,
}
