//! From settings to services that run.

use crate::config::Loaded;
use crate::config::value::{self, Count, Secret};
use crate::data_dir::DataDir;
use anyhow::{Context as _, bail};
use net::{RealOptions, World};
use services::Services;
use services::config::{Config, Rate, Rates, Registration, RegistrationMode, Turn};
use services::signing_keys::own_keys;
use std::sync::Arc;
use storage::{Options, StorageError, Store};
use tokio::runtime::{Builder, Runtime};

/// What we call ourselves to others.
const USER_AGENT: &str = concat!("Causeway/", env!("CARGO_PKG_VERSION"));

/// Of the log, written before it is needed: about as much as it holds before the store begins another.
const PREPARED_LOG_BYTES: usize = 8 * 1024 * 1024;

/// A runtime with a thread per core.
///
/// # Errors
/// If the system gives no threads.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().enable_all().thread_name("causeway").build().context("the runtime cannot be started")
}

/// The real world, as configured.
///
/// # Errors
/// If there is no network to be had as configured.
pub(crate) fn world(loaded: &Loaded) -> anyhow::Result<World> {
    let federation = &loaded.settings.federation;
    let options = RealOptions {
        allow_private_addresses: federation.allow_private_addresses,
        extra_ca_files: federation.extra_ca_files.clone(),
        user_agent: Some(USER_AGENT.to_owned()),
        ..RealOptions::default()
    };
    Ok(World::real(options)?)
}

/// The store in the data directory.
///
/// # Errors
/// If it cannot be opened; another process that has it open is named as the reason.
pub(crate) fn store(loaded: &Loaded, data_dir: &DataDir, world: &World) -> anyhow::Result<Store> {
    let settings = &loaded.settings.storage;
    let block_cache_bytes = usize::try_from(settings.cache_mib.saturating_mul(1024 * 1024)).unwrap_or(usize::MAX);
    let prepared_log_bytes = if settings.sync { PREPARED_LOG_BYTES } else { 0 };
    let options = Options { sync: settings.sync, block_cache_bytes, prepared_log_bytes, ..Options::default() };
    let path = data_dir.store();
    match Store::open_rocksdb(&path, &services::tables::SCHEMA, world.clone(), options) {
        Ok(store) => Ok(store),
        Err(StorageError::Engine(cause)) if cause.contains("lock") || cause.contains("LOCK") => bail!(
            "another process has the data in {} open; stop it first, or use another data directory ({cause})",
            data_dir.path().display()
        ),
        Err(error) => Err(error).with_context(|| format!("the store {} cannot be opened", path.display())),
    }
}

/// What services need to know of the settings.
pub(crate) fn services_config(loaded: &Loaded, server_name: &str, data_dir: &DataDir) -> Config {
    let settings = &loaded.settings;
    let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.0.clone());
    let mut config = Config::new(server_name);
    config.registration = Registration {
        mode: match settings.registration.mode {
            value::RegistrationMode::Open => RegistrationMode::Open,
            value::RegistrationMode::Token => RegistrationMode::Token,
            value::RegistrationMode::Closed => RegistrationMode::Closed,
        },
        token: secret(&settings.registration.token),
        shared_secret: secret(&settings.registration.shared_secret),
    };
    let limits = &settings.rate_limits;
    let rate = |burst: Count, per_minute: Count| Rate { burst: burst.0, per_minute: per_minute.0 };
    config.rate_limits_enabled = limits.enabled;
    config.rates = Rates {
        sending: rate(limits.message_burst, limits.messages_per_minute),
        joins: rate(limits.join_burst, limits.joins_per_minute),
        rooms: rate(limits.room_burst, limits.rooms_per_minute),
        invites: rate(limits.invite_burst, limits.invites_per_minute),
        registrations: rate(limits.registration_burst, limits.registrations_per_minute),
    };
    config.public_client_url = settings.client.public_url.as_ref().map(|url| url.0.clone());
    config.public_federation_address = settings.federation.public_address.as_ref().map(|address| address.0.clone());
    config.turn = Turn {
        uris: settings.turn.uris.iter().map(|uri| uri.0.clone()).collect(),
        shared_secret: secret(&settings.turn.shared_secret),
        ttl_seconds: settings.turn.ttl_seconds,
    };
    config.data_dir = data_dir.path().to_owned();
    config
}

/// Services over the store of a server that does not run, for one command.
///
/// # Errors
/// If the store cannot be opened.
pub(crate) async fn services_alone(loaded: &Loaded, data_dir: &DataDir) -> anyhow::Result<Arc<Services>> {
    // A command must not choose the name that a server keeps for ever by leaving it out.
    let server_name = data_dir.server_name(&loaded.settings, || {
        bail!("server.name: no server has run in {} yet; name it with --server-name", data_dir.path().display())
    })?;
    let world = world(loaded)?;
    let store = store(loaded, data_dir, &world)?;
    let keys = own_keys(&store, &world, &server_name).await?;
    let config = services_config(loaded, &server_name, data_dir);
    Ok(Services::new(config, world, store, keys))
}
