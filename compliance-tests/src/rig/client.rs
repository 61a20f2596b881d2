//! A real client in a process of its own, driven by JSON lines.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

use super::network::workspace;
use super::{Network, Server, process};
use crate::api::Api;

/// Longer than any single command should take; what takes longer hangs.
const COMMAND_LIMIT: Duration = Duration::from_secs(600);
const PASSWORD: &str = "correct horse battery staple";

/// Which client library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// matrix-js-sdk with its Rust cryptography, on Node.
    JsSdk,
    /// matrix-nio with encryption, on Python.
    Nio,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// One signed-in device in a process of its own. Dropping it kills the process.
pub struct Client {
    label: String,
    log: PathBuf,
    input: tokio::sync::Mutex<ChildStdin>,
    waiting: Waiting,
    next: AtomicU64,
    api: Api,
    _child: Child,
}

impl Client {
    /// Starts the library, registers `name` at `server`, and starts syncing.
    pub async fn register(network: &Network, server: &Server, library: Library, name: &str) -> Result<Self> {
        let mut client = Self::spawn(network, library, name)?;
        let account = client.call("register", json!({"url": server.url(), "user": name, "password": PASSWORD})).await?;
        let text = |key: &str| account[key].as_str().with_context(|| format!("no {key} in {account}"));
        client.api = server.api().signed_in(text("user_id")?, text("device_id")?, text("access_token")?);
        client.call("start", json!({})).await?;
        Ok(client)
    }

    fn spawn(network: &Network, library: Library, name: &str) -> Result<Self> {
        let prepared = Network::prepared_clients()?;
        let scripts = workspace().join("compliance-tests/clients");
        let mut command = match library {
            Library::JsSdk => {
                let mut command = std::process::Command::new(prepared.join("bin/node"));
                command.arg(scripts.join("js_client.mjs")).arg(&prepared);
                command
            }
            Library::Nio => {
                let store = network.folder().join(format!("{name}-keys"));
                fs::create_dir_all(&store)?;
                let mut command = std::process::Command::new(prepared.join("venv/bin/python"));
                command.arg(scripts.join("nio_client.py")).arg(store);
                command
            }
        };
        process::die_with_parent(&mut command);
        let log = network.folder().join(format!("{name}.log"));
        let mut child = Command::from(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}'s client"))?;
        let (input, output) = (child.stdin.take().context("no input")?, child.stdout.take().context("no output")?);
        let waiting = Waiting::default();
        let answers = waiting.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(answer) = serde_json::from_str::<Value>(&line) else { continue };
                let waiter = answer["id"].as_u64().and_then(|id| locked(&answers).remove(&id));
                if let Some(waiter) = waiter {
                    let _ = waiter.send(answer);
                }
            }
            // The client is gone: dropping the senders tells everyone who waits.
            locked(&answers).clear();
        });
        Ok(Self {
            label: name.to_owned(),
            log,
            input: tokio::sync::Mutex::new(input),
            waiting,
            next: AtomicU64::new(1),
            api: Api::new(""),
            _child: child,
        })
    }

    /// The name in messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The account's Matrix ID.
    pub fn user_id(&self) -> &str {
        &self.api.user_id
    }

    /// The same account and device in raw JSON, beside the library.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Has the library do something; the commands are those of `clients/js_client.mjs` and `clients/nio_client.py`.
    pub async fn call(&self, what: &str, arguments: Value) -> Result<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut command = arguments;
        command["id"] = json!(id);
        command["do"] = json!(what);
        let (sender, receiver) = oneshot::channel();
        locked(&self.waiting).insert(id, sender);
        let line = format!("{command}\n");
        self.input
            .lock()
            .await
            .write_all(line.as_bytes())
            .await
            .with_context(|| format!("{}'s client has ended\n{}", self.label, self.tail()))?;
        let mut answer = tokio::time::timeout(COMMAND_LIMIT, receiver)
            .await
            .map_err(|_| anyhow!("{}: {what} took longer than {COMMAND_LIMIT:?}\n{}", self.label, self.tail()))?
            .map_err(|_| anyhow!("{}'s client ended during {what}\n{}", self.label, self.tail()))?;
        match answer["error"].as_str() {
            Some(error) => bail!("{}: {what} {command}: {error}", self.label),
            None => Ok(answer["ok"].take()),
        }
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        process::tail(&format!("{}'s client", self.label), &self.log)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic while holding it leaves a map of waiters, which is whole at every step.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
