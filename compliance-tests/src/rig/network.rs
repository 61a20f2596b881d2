//! What the servers of one run share: a folder, a certificate authority, the prepared clients.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use super::Authority;

/// One run's folder and authority. The folder goes when this goes, unless it is kept for somebody to look at.
pub struct Network {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Network {
    /// Makes the folder and the authority.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("causeway-network-").tempdir().context("making a folder")?;
        // PostgreSQL runs as another user when this runs as root.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        }
        let authority = Authority::new(folder.path())?;
        Ok(Self { folder, authority })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The authority that all servers trust.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Keeps the folder after the run; answers where it is.
    pub fn keep(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }

    /// The folder with Synapse and the real clients, made if it is not there yet (`scripts/prepare-clients.sh`).
    pub fn prepared_clients() -> Result<PathBuf> {
        static PREPARED: OnceLock<PathBuf> = OnceLock::new();
        once(&PREPARED, || {
            let script = workspace().join("scripts/prepare-clients.sh");
            let output = Command::new(&script)
                .stderr(std::process::Stdio::inherit())
                .output()
                .with_context(|| format!("running {}", script.display()))?;
            if !output.status.success() {
                bail!(
                    "scripts/prepare-clients.sh failed; without Synapse and the real clients there is nothing to test with"
                );
            }
            let text = String::from_utf8(output.stdout)?;
            Ok(PathBuf::from(text.lines().last().context("scripts/prepare-clients.sh printed no folder")?))
        })
    }
}

/// What `find` finds, looked for once in this process. (Two threads that ask first at the same time both look.)
pub(crate) fn once(place: &OnceLock<PathBuf>, find: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
    if let Some(found) = place.get() {
        return Ok(found.clone());
    }
    let found = find()?;
    Ok(place.get_or_init(|| found).clone())
}

/// The folder of the workspace that this package was built in.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package's folder lies in the workspace's")
}
