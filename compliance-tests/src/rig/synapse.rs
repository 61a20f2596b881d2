//! A published Synapse as a process: configured from its public documentation, and never looked into.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use base64::Engine;
use serde_json::{Value, json};

use super::server::{Place, REGISTRATION_SECRET};

/// High enough that no test meets a limit.
const UNLIMITED: f64 = 1e6;

/// Writes `homeserver.yaml`, `log.yaml` and a new signing key. YAML contains JSON, so JSON is what is written.
pub(crate) fn configure(place: &Place) -> Result<()> {
    let folder = &place.folder;
    let listener = |port: u16, tls: bool, resources: &[&str]| {
        json!({
            "port": port, "type": "http", "tls": tls, "bind_addresses": ["127.0.0.1"],
            "resources": [{"names": resources, "compress": false}],
        })
    };
    let database = match place.postgres {
        Some(port) => json!({
            "name": "psycopg2",
            "args": {"host": "127.0.0.1", "port": port, "user": "postgres", "dbname": "synapse", "cp_min": 5, "cp_max": 10},
        }),
        None => json!({"name": "sqlite3", "args": {"database": folder.join("homeserver.db")}}),
    };
    let rate = json!({"per_second": UNLIMITED, "burst_count": UNLIMITED});
    let mut config = json!({
        "server_name": place.server_name,
        "pid_file": folder.join("homeserver.pid"),
        "listeners": [
            listener(place.client_port, false, &["client"]),
            listener(place.federation_port, true, &["federation"]),
        ],
        "tls_certificate_path": place.certificate,
        "tls_private_key_path": place.key,
        "federation_custom_ca_list": [place.authority],
        "ip_range_blacklist": [],
        "federation_ip_range_blacklist": [],
        "trusted_key_servers": [],
        "suppress_key_server_warning": true,
        "database": database,
        "log_config": folder.join("log.yaml"),
        "media_store_path": folder.join("media"),
        "signing_key_path": folder.join("signing.key"),
        "registration_shared_secret": REGISTRATION_SECRET,
        "enable_registration": true,
        "enable_registration_without_verification": true,
        "macaroon_secret_key": "one run only",
        "form_secret": "one run only",
        "report_stats": false,
        // Passwords are not what is tested or measured.
        "bcrypt_rounds": 4,
        "rc_federation": {"window_size": 1000, "sleep_limit": 1_000_000, "sleep_delay": 0, "reject_limit": 1_000_000, "concurrent": 1000},
        "rc_joins": {"local": rate, "remote": rate},
        "rc_invites": {"per_room": rate, "per_user": rate, "per_issuer": rate},
        "rc_login": {"address": rate, "account": rate, "failed_attempts": rate},
    });
    for key in [
        "rc_message",
        "rc_registration",
        "rc_admin_redaction",
        "rc_joins_per_room",
        "rc_key_requests",
        "rc_presence",
        "rc_room_creation",
    ] {
        config[key] = rate.clone();
    }
    config["rc_presence"] = json!({"per_user": rate});
    fs::write(folder.join("homeserver.yaml"), serde_json::to_vec_pretty(&config)?)?;
    let seed = base64::engine::general_purpose::STANDARD_NO_PAD.encode(rand::random::<[u8; 32]>());
    fs::write(folder.join("signing.key"), format!("ed25519 a_test {seed}\n"))?;
    fs::write(folder.join("log.yaml"), serde_json::to_vec_pretty(&logging(folder))?)?;
    Ok(())
}

fn logging(folder: &Path) -> Value {
    json!({
        "version": 1,
        "disable_existing_loggers": false,
        "formatters": {"plain": {"format": "%(asctime)s - %(name)s - %(lineno)d - %(levelname)s - %(request)s - %(message)s"}},
        "handlers": {"file": {"class": "logging.FileHandler", "formatter": "plain", "filename": log(folder)}},
        "loggers": {"synapse.storage.SQL": {"level": "WARNING"}, "synapse.access": {"level": "WARNING"}},
        "root": {"level": "INFO", "handlers": ["file"]},
    })
}

/// The file that it logs to.
pub(crate) fn log(folder: &Path) -> PathBuf {
    folder.join("homeserver.log")
}

pub(crate) fn command(python: &Path, place: &Place) -> Command {
    let mut command = Command::new(python);
    command
        .args(["-m", "synapse.app.homeserver", "-c"])
        .arg(place.folder.join("homeserver.yaml"))
        .current_dir(&place.folder);
    command
}
