//! Policy servers: a server that a room has chosen to look at its events before they reach anybody (server-server API, "Policy Servers").
//!
//! Nobody is asked while a room's queue is held. Who sends an event of ours lets go of the room, asks, and begins again
//! ([`super::Rooms::write`]); who receives one likewise (`crate::peers`).

use super::reader::RoomReader;
use super::writer::NewEvent;
use crate::error::{Error, Result};
use federation::Client;
use federation::client::RequestError;
use lru::LruCache;
use net::World;
use parking_lot::Mutex;
use serde_json::Value;
use state_res::pdu::Pdu;
use state_res::sign::{VerifyKey, verify_event_by, with_signature};
use state_res::tree::Root;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Semaphore;

/// The id of the key by which a policy server signs. Servers do not publish it: the room's state has it.
pub const KEY_ID: &str = "ed25519:policy_server";
/// The type of the state event that names a policy server.
const TYPE: &str = "m.room.policy";

/// How long a policy server has to sign an event, the wait for others that it is asked about included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// About how many events one policy server is asked at a time.
const MAX_ASKED_AT_ONCE: usize = 16;
/// For how long nobody asks a policy server about events of other servers after it could not be reached: each would wait in vain.
const QUIET: Duration = Duration::from_secs(10);
/// Policy servers about which that is remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not 0");

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
    /// For an event of another server.
    Theirs,
}

/// What asks policy servers.
pub struct PolicyServers {
    world: World,
    own_name: String,
    client: OnceLock<Client>,
    known: Mutex<LruCache<String, Arc<Known>>>,
}

struct Known {
    places: Semaphore,
    /// When it last could not be reached, on the monotonic clock.
    failed: Mutex<Option<Duration>>,
}

impl PolicyServers {
    pub(super) fn new(world: World, own_name: &str) -> Self {
        let known = Mutex::new(LruCache::new(REMEMBERED));
        Self { world, own_name: own_name.to_owned(), client: OnceLock::new(), known }
    }

    /// From now on they can be asked, by way of this client.
    pub fn connect(&self, client: Client) {
        // Once is enough; nobody has two.
        let _ = self.client.set(client);
    }

    /// The event with a valid signature of the room's policy server. Hold no room while this goes on.
    ///
    /// # Errors
    /// The policy server's own error where it refuses, for the client to see; 502 `M_UNKNOWN` where it cannot be asked or its signature is
    /// not valid; 403 `M_FORBIDDEN` where nobody can sign, as the room's key is none or the room has chosen this server.
    pub async fn sign(&self, policy: &PolicyServer, event: &Pdu, whose: Whose) -> Result<Pdu> {
        if policy.recommends(event) {
            return Ok(event.clone());
        }
        if policy.via == self.own_name {
            return Err(Error::forbidden(format!(
                "The room has chosen {} as its policy server, which is none; until `{TYPE}` is changed, nothing can be sent.",
                policy.via
            )));
        }
        if policy.key.is_none() {
            return Err(Error::forbidden(format!(
                "The key of the room's policy server, in `{TYPE}`, is no Ed25519 key; until that is changed, nothing can be sent."
            )));
        }
        let client =
            self.client.get().ok_or_else(|| Error::internal("a policy server is to be asked before the start"))?;
        let known = Arc::clone(self.known.lock().get_or_insert(policy.via.clone(), || {
            Arc::new(Known { places: Semaphore::new(MAX_ASKED_AT_ONCE), failed: Mutex::new(None) })
        }));
        let cannot = |why: &dyn std::fmt::Display| {
            Error::new(502, "M_UNKNOWN", format!("The room's policy server {} could not be asked: {why}.", policy.via))
        };
        let now = self.world.monotonic();
        let is_quiet = known.failed.lock().is_some_and(|failed| now < failed + QUIET);
        if is_quiet && whose == Whose::Theirs {
            return Err(cannot(&"it failed to answer a moment ago"));
        }
        let asking = async {
            let _place = known.places.acquire().await.map_err(Error::internal)?;
            client.policy_sign(&policy.via, event.canonical().to_vec().into()).await.map_err(|error| {
                if error.is_unreachable() {
                    *known.failed.lock() = Some(self.world.monotonic());
                }
                refusal(&error).unwrap_or_else(|| cannot(&error))
            })
        };
        let signatures = match self.world.timeout(TIMEOUT, asking).await {
            Ok(signatures) => signatures?,
            Err(_) => {
                *known.failed.lock() = Some(self.world.monotonic());
                return Err(cannot(&format_args!("it did not answer within {TIMEOUT:?}")));
            }
        };
        *known.failed.lock() = None;
        let unfit = |why: &str| {
            Error::new(502, "M_UNKNOWN", format!("The room's policy server {} answered with {why}.", policy.via))
        };
        let signature = signatures.get(&policy.via).and_then(|keys| keys.get(KEY_ID));
        let signature = signature.ok_or_else(|| unfit("no signature"))?;
        let signed = with_signature(event, &policy.via, KEY_ID, signature).map_err(super::writer::pdu_error)?;
        if !policy.has_signed(&signed) {
            return Err(unfit("a signature by another key than the one in the room's state"));
        }
        Ok(signed)
    }
}

/// What the policy server itself said, if it said something.
fn refusal(error: &RequestError) -> Option<Error> {
    let peer = error.peer().filter(|peer| !peer.is_unrecognized() && peer.body.contains_key("errcode"))?;
    let passed = crate::peers::remote_error(error);
    if (400..500).contains(&peer.status) {
        return Some(passed);
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
