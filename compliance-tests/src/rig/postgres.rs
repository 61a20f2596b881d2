//! A PostgreSQL of one run's own, in its folder, on loopback.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Network, Process, free_port};

const START_LIMIT: Duration = Duration::from_secs(60);

/// A running PostgreSQL with an empty database `synapse`. Dropping it ends it.
pub struct Postgres {
    process: Process,
    port: u16,
}

impl Postgres {
    /// Makes a cluster in the network's folder, starts it, and makes the database.
    pub async fn start(network: &Network) -> Result<Self> {
        let bin = programs()?;
        let folder = network.folder().join("postgres");
        fs::create_dir_all(&folder)?;
        let user = other_user()?;
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).context("giving PostgreSQL its folder")?;
        }
        let data = folder.join("data");
        let mut init = Command::new(bin.join("initdb"));
        init.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]);
        run(init, user, &folder)?;

        let port = free_port()?;
        let mut server = Command::new(bin.join("postgres"));
        server
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-c", "unix_socket_directories="])
            .current_dir(&folder);
        as_user(&mut server, user);
        let process = Process::spawn("PostgreSQL", server, &network.folder().join("postgres.log"))?;
        let mut started = Self { process, port };
        let begin = Instant::now();
        loop {
            let mut create = Command::new(bin.join("createdb"));
            create.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "postgres", "synapse"]);
            match run(create, user, &folder) {
                Ok(()) => return Ok(started),
                Err(error) if begin.elapsed() > START_LIMIT || started.process.ended().is_some() => {
                    return Err(error.context(started.process.tail()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the postmaster; its children do the work.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends it in order, so that its last log lines mean something.
    pub async fn stop(mut self) -> Result<()> {
        self.process.stop(libc::SIGINT, START_LIMIT).await?;
        Ok(())
    }
}

/// The folder with `initdb` and `postgres`: the newest under /usr/lib/postgresql.
fn programs() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").is_file())
        .collect();
    found.sort();
    match found.pop() {
        Some((_, bin)) => Ok(bin),
        None => bail!("PostgreSQL is not installed (Debian's package postgresql)"),
    }
}

/// PostgreSQL refuses to run as root; Debian's package makes a user for it.
fn other_user() -> Result<Option<(u32, u32)>> {
    // SAFETY: geteuid(2) has no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let fields: Vec<&str> = users
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .context("there is no user postgres, and PostgreSQL does not run as root")?
        .split(':')
        .collect();
    Ok(Some((fields[2].parse()?, fields[3].parse()?)))
}

fn as_user(command: &mut Command, user: Option<(u32, u32)>) {
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
}

fn run(mut command: Command, user: Option<(u32, u32)>, folder: &Path) -> Result<()> {
    as_user(&mut command, user);
    let output =
        command.current_dir(folder).output().with_context(|| format!("running {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("{:?} failed: {}", command.get_program(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
