//! Accounts of this server: who they are, how they prove it, and what they keep here.
//!
//! One file per concern; each adds its methods to [`Accounts`].

pub mod account_data;
mod admin;
mod deactivate;
mod directory;
pub mod filters;
mod following;
pub mod invite_permission;
mod login;
pub mod names;
mod password;
mod profile;
pub(crate) mod record;
mod refresh;
mod register;
pub(crate) mod replaced_rooms;
pub(crate) mod sessions;
mod shared_secret;
mod tags;
mod tokens;
pub mod uia;

pub use admin::AccountSummary;
pub use directory::{FoundUser, SearchResults};
pub use login::{LoginRequest, UserIdentifier};
pub use password::MAX_PASSWORD_BYTES;
pub use profile::{MAX_PROFILE_BYTES, Profile};
pub use refresh::Refreshed;
pub use register::{RegisterRequest, Registered};
pub use sessions::{NewSession, Session};
pub use shared_secret::SharedSecretRequest;
pub use tokens::TokenHash;
pub use uia::{AuthData, Challenge};

pub(crate) use crate::commit::{MAX_COMMIT_ATTEMPTS, commit};
pub(crate) use record::{AccountRecord, DeviceRecord, Versioned};

use crate::{Config, devices::Devices, limits::Limits};
use net::World;
use password::Passwords;
use sessions::SessionCache;
use shared_secret::Nonces;
use std::sync::Arc;
use storage::Store;
use uia::UiaSessions;

/// Accounts, sessions, profiles, account data. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    pub(crate) store: Store,
    pub(crate) world: World,
    pub(crate) config: Arc<Config>,
    /// The rate limits, for everyone's use.
    pub limits: Arc<Limits>,
    /// The devices of accounts.
    pub devices: Devices,
    passwords: Arc<Passwords>,
    sessions: Arc<SessionCache>,
    interactive: Arc<UiaSessions>,
    nonces: Arc<Nonces>,
    filters: Arc<filters::KnownFilters>,
}

impl Accounts {
    /// Accounts over a store; makes nothing durable.
    #[must_use]
    pub fn new(store: Store, world: World, config: Arc<Config>) -> Self {
        let limits = Arc::new(Limits::new(world.clone(), config.rate_limits_enabled, &config.rates));
        let sessions = Arc::new(SessionCache::default());
        Self {
            devices: Devices::new(store.clone(), world.clone(), sessions.clone()),
            passwords: Arc::new(Passwords::new(world.clone())),
            interactive: Arc::default(),
            nonces: Arc::default(),
            filters: filters::known_none(),
            limits,
            sessions,
            store,
            world,
            config,
        }
    }
}
