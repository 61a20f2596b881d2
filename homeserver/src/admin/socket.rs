//! The server's end of the socket.

use super::operate::operate;
use super::protocol::{Answer, MAX_LINE, Request, SocketPath};
use anyhow::Context as _;
use net::World;
use services::Services;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How long a command may take to ask.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after the system refused to accept.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// A socket that listens for `causeway user …`.
pub(crate) struct Socket {
    listener: UnixListener,
    path: SocketPath,
}

impl Socket {
    /// Makes the socket in the data directory, for this user alone. Whoever calls this holds the store, so that a socket
    /// which is already there was left behind by a server that died.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn bind(data_dir: &Path) -> anyhow::Result<Self> {
        let path = SocketPath::in_dir(data_dir).with_context(|| format!("{} cannot be opened", data_dir.display()))?;
        match std::fs::remove_file(path.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} cannot be replaced", path.path().display()));
            }
            _ => {}
        }
        let make = || {
            let listener = UnixListener::bind(path.path())?;
            std::fs::set_permissions(path.path(), Permissions::from_mode(0o600))?;
            Ok::<_, io::Error>(listener)
        };
        let listener = make().with_context(|| format!("the socket {} cannot be made", path.path().display()))?;
        Ok(Self { listener, path })
    }

    /// Answers commands until the task is stopped.
    pub(crate) async fn serve(self, world: World, services: Arc<Services>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let services = Arc::clone(&services);
                    let own_world = world.clone();
                    world.spawn("admin command", async move {
                        if let Err(error) = answer(stream, &own_world, &services).await {
                            tracing::debug!(%error, "a command through the socket broke off");
                        }
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "the socket for commands cannot accept");
                    world.sleep(PAUSE_AFTER_FAILURE).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Left behind, it does no harm: connecting to it is refused, and the next start replaces it.
        let _ = std::fs::remove_file(self.path.path());
    }
}

async fn answer(stream: UnixStream, world: &World, services: &Services) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    // SAFETY: takes nothing, changes nothing, cannot fail.
    let own = unsafe { libc::geteuid() };
    let (reading, mut writing) = stream.into_split();
    let answers = if peer != own && peer != 0 {
        vec![Answer::Error {
            message: "only the user that the server runs as, and root, may give it commands".to_owned(),
        }]
    } else {
        let mut line = Vec::new();
        let mut reader = BufReader::new(reading.take(MAX_LINE));
        let read = world.timeout(REQUEST_TIMEOUT, reader.read_until(b'\n', &mut line)).await;
        read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        match serde_json::from_slice::<Request>(&line) {
            Ok(request) => {
                let (tell, told) = unbounded_channel();
                let tell = move |answer| {
                    // Nobody listens any more once writing has failed; the work goes on.
                    let _ = tell.send(answer);
                };
                tokio::join!(operate(services, request, tell), pass_on(told, &mut writing)).0
            }
            Err(error) => {
                vec![Answer::Error { message: format!("the server does not understand this command: {error}") }]
            }
        }
    };
    write(&mut writing, &answers).await?;
    writing.shutdown().await
}

/// Sends what there is to say while the work goes on, for as long as somebody listens.
async fn pass_on(mut told: UnboundedReceiver<Answer>, writing: &mut OwnedWriteHalf) {
    while let Some(answer) = told.recv().await {
        if write(writing, &[answer]).await.is_err() {
            return;
        }
    }
}

async fn write(writing: &mut OwnedWriteHalf, answers: &[Answer]) -> io::Result<()> {
    let mut bytes = Vec::new();
    for answer in answers {
        serde_json::to_writer(&mut bytes, answer)?;
        bytes.push(b'\n');
    }
    writing.write_all(&bytes).await
}
