//! This machine.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use http::HeaderValue;
use tokio::runtime::Handle;

use crate::Parts;

mod chance;
mod client;
mod clock;
mod dial;
mod guard;
mod hosts;
mod pool;
mod resolver;
mod tasks;
mod tls;

/// The hosts file of Unix systems.
const HOSTS_FILE: &str = "/etc/hosts";

/// What the operator decides about this machine's part of the world.
#[derive(Clone, Debug, Default)]
pub struct RealOptions {
    /// Allows outbound connections to loopback, private and other addresses that are not public.
    pub allow_private_addresses: bool,
    /// PEM files with certificate authorities that are trusted beside the roots.
    pub extra_ca_files: Vec<PathBuf>,
    /// Which certificate authorities are trusted.
    pub roots: TlsRoots,
    /// Which DNS servers are asked.
    pub name_servers: NameServers,
    /// The hosts file; `/etc/hosts` if not set.
    pub hosts_file: Option<PathBuf>,
    /// `User-Agent` of outbound requests that do not set one; none if not set.
    pub user_agent: Option<String>,
}

/// Which certificate authorities outbound connections trust.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsRoots {
    /// Those of the operating system.
    #[default]
    System,
    /// None but [`RealOptions::extra_ca_files`].
    ExtraOnly,
}

/// Which DNS servers are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NameServers {
    /// Those of the operating system's configuration (`/etc/resolv.conf`).
    #[default]
    System,
    /// These.
    At(Vec<SocketAddr>),
}

/// Why the real world cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Called outside of a tokio runtime.
    #[error("the network needs a tokio runtime, and this thread is in none; call it from an async task")]
    NoRuntime,
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes: {0}; keys cannot be made without")]
    NoRandomness(getrandom::Error),
    /// A file of certificate authorities cannot be read.
    #[error("cannot read certificate authorities from {}: {error}; `federation.extra_ca_files` takes PEM files", .path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// The text for `User-Agent` cannot be in a header.
    #[error("{0:?} cannot be a User-Agent: a header takes visible ASCII characters only")]
    UserAgent(String),
}

/// The parts of the real world.
pub(crate) fn parts(options: RealOptions) -> Result<Parts, StartError> {
    let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
    let chance = Arc::new(chance::System::new()?);
    let tls = tls::client_config(options.roots, &options.extra_ca_files)?;
    let user_agent = match &options.user_agent {
        Some(text) => Some(HeaderValue::from_str(text).map_err(|_| StartError::UserAgent(text.clone()))?),
        None => None,
    };
    let hosts = hosts::HostsFile::new(options.hosts_file.unwrap_or_else(|| HOSTS_FILE.into()));
    let resolver = Arc::new(resolver::DnsResolver::new(options.name_servers, hosts, chance.clone()));
    let guard = guard::Guard { allow_private_addresses: options.allow_private_addresses };
    Ok(Parts {
        clock: Arc::new(clock::System::new(runtime.clone())),
        tasks: Arc::new(tasks::Runtime::new(runtime)),
        chance,
        http: Arc::new(client::Client::new(resolver.clone(), guard, tls, user_agent)),
        resolver,
    })
}
