//! The server's mind: accounts, devices, rooms, timelines, sync, keys, push.
//!
//! Everything durable goes through `storage` as batches; time, chance and the network come as a `net::World`. The
//! client-server API and the program call in here; `federation` asks through the traits it declares.

pub mod accounts;
mod clock;
mod commit;
pub mod config;
pub mod devices;
pub mod ephemeral;
pub mod ephemeral_out;
pub mod error;
pub mod json_text;
pub mod keys;
pub mod limits;
pub mod names;
mod of_user;
pub mod openid;
pub mod outbox;
pub mod peers;
pub mod push;
pub mod rooms;
pub mod signing_keys;
pub mod sync;
pub mod tables;
pub mod turn;

pub use config::Config;
pub use error::{Error, Result};

use accounts::Accounts;
use ephemeral::Ephemeral;
use federation::discovery::{self, Discovery};
use federation::inbound::Inbound;
use federation::keys::OwnKeys;
use federation::queue::Queues;
use federation::types::ServerVersion;
use federation::{Client, KeyRing};
use keys::Keys;
use net::World;
use peers::{AWAY_FOR, COMPACT_EVERY, PeerAnswers, Peers, StoredKeys, StoredQueue};
use push::Push;
use rooms::Rooms;
use std::sync::Arc;
use storage::Store;
use sync::Syncs;
use tokio_util::sync::CancellationToken;

/// Every service, wired together. Cheap to share behind an `Arc`.
pub struct Services {
    /// What the operator decided.
    pub config: Arc<Config>,
    /// Clock, chance, network.
    pub world: World,
    /// The log-first store.
    pub store: Store,
    /// Accounts, sessions, profiles, account data.
    pub accounts: Arc<Accounts>,
    /// Rooms: events, state, membership.
    pub rooms: Rooms,
    /// Typing and receipts.
    pub ephemeral: Ephemeral,
    /// Devices' keys and messages.
    pub keys: Arc<Keys>,
    /// Push rules and unread counts.
    pub push: Arc<Push>,
    /// Answers to `/sync`.
    pub syncs: Syncs,
    /// Rooms as other servers and we see them.
    pub peers: Peers,
    /// What waits for other servers.
    pub queues: Queues,
    /// Signing keys, ours and other servers'.
    pub ring: KeyRing,
    /// Cancelled when the server ends: whoever waits answers at once, whoever works on stops at the next safe place.
    pub stopping: CancellationToken,
    outbox: Arc<StoredQueue>,
}

impl Services {
    /// Every service over `store`, for a server that signs with `own`. Makes nothing durable and asks nobody.
    #[must_use]
    pub fn new(config: Config, world: World, store: Store, own: OwnKeys) -> Arc<Self> {
        let config = Arc::new(config);
        let server_name = config.server_name.as_str();
        let own = Arc::new(own);
        let stopping = CancellationToken::new();
        let accounts = Arc::new(Accounts::new(store.clone(), world.clone(), config.clone()));
        let ephemeral = Ephemeral::new(store.clone(), world.clone());
        let rooms = Rooms::new(
            store.clone(),
            world.clone(),
            server_name,
            own.current.clone(),
            accounts.clone(),
            ephemeral.clone(),
            accounts.limits.clone(),
        );
        let routes = Arc::new(Discovery::new(world.clone(), discovery::Options::default()));
        let client = Client::new(world.clone(), own.clone(), routes);
        rooms.deps().policy_servers.connect(client.clone());
        let remembered = Arc::new(StoredKeys::new(store.clone()));
        let ring = KeyRing::new(world.clone(), client.clone(), own, remembered, Vec::new());
        let peers = Peers::new(rooms.clone(), ephemeral.clone(), client.clone(), ring.clone());
        let outbox = Arc::new(StoredQueue::new(store.clone(), server_name));
        let queues = Queues::new(world.clone(), client.clone(), outbox.clone());
        let keys = Arc::new(Keys::new(store.clone(), world.clone(), server_name, rooms.clone()));
        keys.connect(client);
        let push = Arc::new(Push::new(store.clone(), ephemeral.clone()));
        let syncs = Syncs::new(rooms.clone(), ephemeral.clone(), keys.clone(), push.clone(), stopping.clone());
        Arc::new(Self {
            accounts,
            rooms,
            ephemeral,
            keys,
            push,
            syncs,
            peers,
            queues,
            ring,
            stopping,
            outbox,
            config,
            world,
            store,
        })
    }

    /// What the inbound routes of the server-server protocol need.
    #[must_use]
    pub fn inbound(&self) -> Inbound {
        let queues = self.queues.clone();
        Inbound {
            world: self.world.clone(),
            answers: Arc::new(PeerAnswers {
                peers: self.peers.clone(),
                accounts: self.accounts.clone(),
                keys: self.keys.clone(),
            }),
            keys: self.ring.clone(),
            seen: Arc::new(move |server| queues.peer_seen(server)),
            version: ServerVersion {
                name: Some("Causeway".to_owned()),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            },
        }
    }

    /// Begins to note by the hour how far the log has come, from which a purge tells how old events are, until [`Self::stopping`] is cancelled.
    pub fn start_clock(&self) {
        let noting = clock::note_hourly(self.store.clone(), self.world.clone(), self.stopping.clone());
        self.world.spawn("clock", noting);
    }

    /// Begins to send what waits for other servers, to ask policy servers about what waits for them, and to tell of ended
    /// invites who was away, until [`Self::stopping`] is cancelled. Call it once the inbound routes are served: other servers will ask for our keys.
    pub fn start_federation(&self) {
        self.queues.start();
        self.world.spawn("unanswered events", self.peers.clone().ask_again(self.stopping.clone()));
        self.world.spawn("untold leaves", self.peers.clone().tell_later(self.stopping.clone()));
        let (store, outbox, queues, stopping) =
            (self.store.clone(), self.outbox.clone(), self.queues.clone(), self.stopping.clone());
        self.world.spawn("outbox", async move {
            let mut changes = store.subscribe(&[outbox::topic()]);
            loop {
                tokio::select! {
                    biased;
                    () = stopping.cancelled() => break,
                    _ = changes.changed() => {}
                }
                match outbox.waiting() {
                    Ok(destinations) => destinations.iter().for_each(|destination| queues.wake(destination)),
                    Err(error) => tracing::error!(%error, "the outbox cannot be read"),
                }
            }
            queues.stop();
        });
        let (world, outbox, queues, stopping) =
            (self.world.clone(), self.outbox.clone(), self.queues.clone(), self.stopping.clone());
        self.world.spawn("outbox of those who are away", async move {
            loop {
                tokio::select! {
                    biased;
                    () = stopping.cancelled() => break,
                    () = world.sleep(COMPACT_EVERY) => {}
                }
                for destination in outbox.waiting().unwrap_or_default() {
                    if queues.failing_for(&destination).is_some_and(|outage| outage >= AWAY_FOR)
                        && let Err(error) = outbox.compact(&destination).await
                    {
                        tracing::error!(%error, destination, "a queue cannot be cut");
                    }
                }
            }
        });
    }
}
