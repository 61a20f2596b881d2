//! The server's mind: accounts, devices, rooms, timelines, sync, keys, push.
//!
//! Everything durable goes through `storage` as batches; time, chance and the network come as a `net::World`. The
//! client-server API and the program call in here; `federation` asks through the traits it declares.

pub mod accounts;
pub mod config;
pub mod devices;
pub mod ephemeral;
pub mod error;
pub mod keys;
pub mod limits;
pub mod names;
pub mod outbox;
pub mod peers;
pub mod rooms;
pub mod signing_keys;
pub mod sync;
pub mod tables;

pub use config::Config;
pub use error::{Error, Result};

use accounts::Accounts;
use keys::Keys;
use net::World;
use rooms::Rooms;
use state_res::sign::SigningKey;
use std::sync::Arc;
use storage::Store;
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
    /// Keys, device lists, to-device messages.
    pub keys: Arc<Keys>,
    /// Cancelled when the server ends: whoever waits answers at once, whoever works on stops at the next safe place.
    pub stopping: CancellationToken,
}

impl Services {
    /// Every service over `store`, for a server whose events `signing_key` signs. Makes nothing durable.
    #[must_use]
    pub fn new(config: Config, world: World, store: Store, signing_key: SigningKey) -> Arc<Self> {
        let config = Arc::new(config);
        let accounts = Arc::new(Accounts::new(store.clone(), world.clone(), config.clone()));
        let rooms =
            Rooms::new(store.clone(), world.clone(), &config.server_name, signing_key, accounts.clone());
        let keys = Arc::new(Keys::new(store.clone(), world.clone(), &config.server_name, rooms.clone()));
        Arc::new(Self {
            accounts,
            rooms,
            keys,
            config,
            world,
            store,
            stopping: CancellationToken::new(),
        })
    }
}
