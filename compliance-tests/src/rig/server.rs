//! A homeserver of any kind, as a process that can be killed, stopped and started again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Network, Process, causeway, free_port, synapse};
use crate::api::Api;

/// How long a server may take from its start to its first answer.
const START_LIMIT: Duration = Duration::from_secs(90);
/// How long a server may take to end after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Causeway,
    /// The published one.
    Synapse,
}

impl Kind {
    /// The kind that the environment variable names (`causeway` or `synapse`), so that a run can put any program in any
    /// place, for instance Synapse in all to check the rig itself; `otherwise` when it is unset.
    pub fn from_env(variable: &str, otherwise: Self) -> Result<Self> {
        match std::env::var(variable).as_deref() {
            Ok("causeway") => Ok(Self::Causeway),
            Ok("synapse") => Ok(Self::Synapse),
            Ok(other) => bail!("{variable} is {other:?}; it can be causeway or synapse"),
            Err(_) => Ok(otherwise),
        }
    }
}

/// What differs between servers of one kind.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The host part of the server name: `localhost` or `127.0.0.1`.
    pub host: String,
    /// PostgreSQL's port for Synapse; SQLite without it.
    pub postgres: Option<u16>,
    /// Whether it has to listen for other servers before it counts as started.
    pub federates: bool,
    /// The program, when it is not the one that the rig would find.
    pub program: Option<PathBuf>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { host: "localhost".to_owned(), postgres: None, federates: true, program: None }
    }
}

/// Everything that a server's configuration needs.
pub(crate) struct Place {
    pub(crate) server_name: String,
    pub(crate) folder: PathBuf,
    pub(crate) client_port: u16,
    pub(crate) federation_port: u16,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) authority: PathBuf,
    pub(crate) postgres: Option<u16>,
}

/// One homeserver.
pub struct Server {
    label: String,
    kind: Kind,
    place: Place,
    program: PathBuf,
    federates: bool,
    process: Option<Process>,
}

/// The shared secret under which accounts may be made; every server of a network has it.
pub(crate) const REGISTRATION_SECRET: &str = "a secret that is known to everyone who reads this line";

impl Server {
    /// Lays out a server without starting it. `label` names it in messages and is its folder's name.
    pub fn new(network: &Network, label: &str, kind: Kind, options: ServerOptions) -> Result<Self> {
        let folder = network.folder().join(label);
        fs::create_dir_all(&folder)?;
        let (certificate, key) = network.authority().issue(&options.host, &folder)?;
        let federation_port = free_port()?;
        let place = Place {
            server_name: format!("{}:{federation_port}", options.host),
            folder,
            client_port: free_port()?,
            federation_port,
            certificate,
            key,
            authority: network.authority().certificate_file().to_owned(),
            postgres: options.postgres,
        };
        let federates = options.federates;
        let program = match (options.program, kind) {
            (Some(program), _) => program,
            (None, Kind::Causeway) => causeway::find()?,
            (None, Kind::Synapse) => Network::prepared_clients()?.join("venv/bin/python"),
        };
        if kind == Kind::Synapse {
            synapse::configure(&place)?;
        }
        Ok(Self { label: label.to_owned(), kind, place, program, federates, process: None })
    }

    /// The name in messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Which program it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The server name: the part of its users' ids after the colon.
    pub fn name(&self) -> &str {
        &self.place.server_name
    }

    /// Where clients reach it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.place.client_port)
    }

    /// Its client API, for nobody in particular.
    pub fn api(&self) -> Api {
        Api::new(&self.url())
    }

    /// The folder that holds its data and its log.
    pub fn folder(&self) -> &Path {
        &self.place.folder
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Starts it and waits until it answers clients and listens for servers.
    pub async fn start(&mut self) -> Result<()> {
        let mut command = match self.kind {
            Kind::Causeway => causeway::command(&self.program, &self.place),
            Kind::Synapse => synapse::command(&self.program, &self.place),
        };
        clean_environment(&mut command);
        let mut process = Process::spawn(&self.label, command, &self.log())?;
        let api = self.api();
        let start = Instant::now();
        loop {
            if let Some(status) = process.ended() {
                bail!("{} ended at its start ({status})\n{}", self.label, process.tail());
            }
            let answers = api.get("/_matrix/client/versions").await.is_ok();
            let federates = !self.federates
                || tokio::net::TcpStream::connect(("127.0.0.1", self.place.federation_port)).await.is_ok();
            if answers && federates {
                break;
            }
            if start.elapsed() > START_LIMIT {
                bail!("{} did not answer within {START_LIMIT:?}\n{}", self.label, process.tail());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.process = Some(process);
        Ok(())
    }

    /// Kills it with SIGKILL, as a loss of power would.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().with_context(|| format!("{} does not run", self.label))?.kill();
        Ok(())
    }

    /// Asks it with SIGTERM to end, and waits until it has.
    pub async fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().with_context(|| format!("{} does not run", self.label))?;
        process.stop(libc::SIGTERM, STOP_LIMIT).await?;
        Ok(())
    }

    /// Fails with the end of the log when the process has ended by itself.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(process) = &mut self.process
            && let Some(status) = process.ended()
        {
            bail!("{} has ended ({status})\n{}", self.label, process.tail());
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.place.folder.join("output.log")
    }

    /// The ends of its logs, for a failure's message.
    pub fn tail(&self) -> String {
        let mut text = super::process::tail(&self.label, &self.log());
        if self.kind == Kind::Synapse {
            text += &super::process::tail(&format!("{}'s own log", self.label), &synapse::log(&self.place.folder));
        }
        text
    }
}

/// What the machine sets for other programs must not change what is tested.
fn clean_environment(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy().to_ascii_uppercase();
        // The rig sets the ones that it means on the command itself, after this process's are gone.
        let ours = command.get_envs().any(|(set, value)| set == key && value.is_some());
        if !ours && (name.ends_with("_PROXY") || name.starts_with("CAUSEWAY_") || name == "PYTHONPATH") {
            command.env_remove(&key);
        }
    }
}
