//! This machine.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::runtime::Handle;

use crate::Parts;

mod chance;
mod clock;
mod tasks;

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
}

/// The parts of the real world.
pub(crate) fn parts(_options: RealOptions) -> Result<Parts, StartError> {
    let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
    let chance = Arc::new(chance::System::new()?);
    Ok(Parts {
        clock: Arc::new(clock::System::new(runtime.clone())),
        tasks: Arc::new(tasks::Runtime::new(runtime)),
        chance,
    })
}
