//! Causeway as a process, configured by the names that rigs rely on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use super::network::{once, workspace};
use super::server::{Place, REGISTRATION_SECRET};

/// The program to test: `CAUSEWAY_BIN`, or else the workspace's, built now so that it is never an old one.
pub(crate) fn find() -> Result<PathBuf> {
    match std::env::var_os("CAUSEWAY_BIN") {
        Some(path) => {
            let path = PathBuf::from(path);
            if !path.is_file() {
                bail!("CAUSEWAY_BIN names {}, which is not there", path.display());
            }
            Ok(path)
        }
        None => {
            static BUILT: OnceLock<PathBuf> = OnceLock::new();
            once(&BUILT, || build_causeway(!cfg!(debug_assertions)))
        }
    }
}

/// Builds the workspace's `causeway` and answers where it is.
pub fn build_causeway(release: bool) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "homeserver", "--message-format=json-render-diagnostics"]);
    if release {
        command.arg("--release");
    }
    // Cargo sets this for the tests that it runs; passed on, it would make build scripts run again.
    command.current_dir(workspace()).env_remove("LD_LIBRARY_PATH").stderr(std::process::Stdio::inherit());
    let output = command.output().context("running cargo")?;
    if !output.status.success() {
        bail!("`cargo build -p homeserver` failed: there is no causeway to test");
    }
    let text = String::from_utf8(output.stdout)?;
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "causeway")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("`cargo build -p homeserver` made no binary named causeway")
}

pub(crate) fn command(program: &Path, place: &Place) -> Command {
    let mut command = Command::new(program);
    command
        .arg("serve")
        .args(["--server-name", &place.server_name])
        .arg("--data-dir")
        .arg(place.folder.join("data"))
        .args(["--client-listen", &format!("127.0.0.1:{}", place.client_port)])
        .args(["--federation-listen", &format!("127.0.0.1:{}", place.federation_port)])
        .env("CAUSEWAY_REGISTRATION__MODE", "open")
        .env("CAUSEWAY_REGISTRATION__SHARED_SECRET", REGISTRATION_SECRET)
        .env("CAUSEWAY_TLS__CERTIFICATE", &place.certificate)
        .env("CAUSEWAY_TLS__KEY", &place.key)
        .env("CAUSEWAY_FEDERATION__EXTRA_CA_FILES", &place.authority)
        .env("CAUSEWAY_FEDERATION__ALLOW_PRIVATE_ADDRESSES", "true")
        .env("CAUSEWAY_RATE_LIMITS__ENABLED", "false");
    command
}
