//! The data directory: where it is, who may read it, and the server name it belongs to.

use crate::config::Settings;
use anyhow::{Context as _, bail};
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The file that holds the server name that the data were made with.
const NAME_FILE: &str = "server-name";
/// The folder of the database.
const STORE_FOLDER: &str = "store";
/// The name of a server on a machine that has no full host name.
const FALLBACK_NAME: &str = "localhost";

/// An existing data directory.
#[derive(Debug, Clone)]
pub(crate) struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// The configured directory, made if it is not there (readable by its owner alone).
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn create(settings: &Settings) -> anyhow::Result<Self> {
        let path = configured(settings)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("server.data_dir: {} cannot be made", path.display()))?;
        Ok(Self { path })
    }

    /// Whether the configured directory is there.
    ///
    /// # Errors
    /// If none is configured and there is no place for a default.
    pub(crate) fn exists(settings: &Settings) -> anyhow::Result<bool> {
        Ok(configured(settings)?.is_dir())
    }

    /// The configured directory, which has to be there.
    ///
    /// # Errors
    /// If it is not.
    pub(crate) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let path = configured(settings)?;
        if !path.is_dir() {
            bail!(
                "server.data_dir: there is no directory {}; name the one that the server runs with (--data-dir)",
                path.display()
            );
        }
        Ok(Self { path })
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the database is.
    pub(crate) fn store(&self) -> PathBuf {
        self.path.join(STORE_FOLDER)
    }

    /// The server's name: the configured one, else the one that the data were made with, else what `otherwise` says.
    /// Written down on first use, because ids contain it for ever.
    ///
    /// # Errors
    /// If the data were made with another name than the configured one, or the name cannot be read or written down.
    pub(crate) fn server_name(
        &self,
        settings: &Settings,
        otherwise: impl FnOnce() -> anyhow::Result<String>,
    ) -> anyhow::Result<String> {
        let file = self.path.join(NAME_FILE);
        match (self.refuse_other_name(settings)?, settings.server.name.as_ref().map(|name| name.0.clone())) {
            (Some(kept), _) => Ok(kept),
            (None, wanted) => {
                let name = wanted.map_or_else(otherwise, Ok)?;
                // The rename makes it whole or absent, whenever the machine stops.
                let fresh = self.path.join(format!("{NAME_FILE}.new"));
                fs::write(&fresh, format!("{name}\n"))
                    .and_then(|()| fs::rename(&fresh, &file))
                    .with_context(|| format!("{} cannot be written", file.display()))?;
                Ok(name)
            }
        }
    }
}

impl DataDir {
    /// Makes sure that no other name is configured than the data were made with; gives that name, if there is one yet.
    ///
    /// # Errors
    /// If the two differ, or the name cannot be read.
    pub(crate) fn refuse_other_name(&self, settings: &Settings) -> anyhow::Result<Option<String>> {
        let file = self.path.join(NAME_FILE);
        let kept = match fs::read_to_string(&file) {
            Ok(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", file.display())),
        };
        if let (Some(kept), Some(wanted)) = (&kept, &settings.server.name)
            && *kept != wanted.0
        {
            bail!(
                "server.name: {} is not the name that the data in {} were made with, which is {kept}; a server keeps its \
                 name for ever, so use that name or another data directory",
                wanted.0,
                self.path.display()
            );
        }
        Ok(kept)
    }
}

fn configured(settings: &Settings) -> anyhow::Result<PathBuf> {
    if let Some(path) = &settings.server.data_dir {
        return std::path::absolute(path).with_context(|| format!("server.data_dir: {} is no path", path.display()));
    }
    // SAFETY: takes nothing, changes nothing, cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return Ok(PathBuf::from("/var/lib/causeway"));
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
    match base {
        Some(base) => Ok(base.join("causeway")),
        None => bail!("server.data_dir: there is no home directory to put a default in; name a directory (--data-dir)"),
    }
}

/// The machine's host name where it is a full one, with a dot; else `localhost`.
pub(crate) fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|text| text.trim().to_ascii_lowercase())
        .filter(|name| name.contains('.') && !name.contains("localdomain") && !name.ends_with(".local"))
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.'))
        .unwrap_or_else(|| FALLBACK_NAME.to_owned())
}
