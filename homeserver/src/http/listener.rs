//! Sockets that listen.

use super::connection::{Connections, Traits};
use crate::config::value::Listen;
use anyhow::Context as _;
use axum::Router;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 4096;
/// How long to wait after the system refused to accept, as when files run out.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// What a listener speaks below HTTP.
#[derive(Clone)]
pub(crate) enum Protocol {
    /// Nothing.
    Plain,
    /// TLS.
    Tls(TlsAcceptor),
}

/// A bound socket.
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds every address that `listen` names (`localhost` may be two).
    ///
    /// # Errors
    /// If one cannot be bound; the sentence names the configuration key.
    pub(crate) fn bind(key: &str, listen: &Listen) -> anyhow::Result<Vec<Self>> {
        let addresses =
            listen.addresses().with_context(|| format!("{key}: {} names no address of this machine", listen.0))?;
        let mut bound: Vec<Self> = Vec::new();
        for address in addresses {
            match bind(address) {
                Ok(socket) => {
                    let address = socket.local_addr()?;
                    bound.push(Self { socket, address });
                }
                // A name may have an address of a family that this machine does not speak.
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && !bound.is_empty() => {}
                Err(error) => {
                    let hint = match error.kind() {
                        io::ErrorKind::AddrInUse => {
                            "; another program listens there, so stop it or choose another port"
                        }
                        io::ErrorKind::PermissionDenied => "; ports below 1024 are the system administrator's",
                        _ => "",
                    };
                    return Err(anyhow::anyhow!("{key}: cannot listen on {address}: {error}{hint}"));
                }
            }
        }
        Ok(bound)
    }

    /// Where it listens; with the port that the system chose, if it was asked to choose.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections and serves `router` on them until the server ends.
    pub(crate) async fn serve(self, protocol: Protocol, router: Router, traits: Traits, connections: Arc<Connections>) {
        loop {
            let Some(slot) = connections.slot().await else { return };
            let accepted = tokio::select! {
                biased;
                () = connections.ending() => return,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    connections.start(stream, peer, protocol.clone(), router.clone(), traits.clone(), slot);
                }
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, address = %self.address, "cannot accept connections; trying again");
                    connections.pause(PAUSE_AFTER_FAILURE).await;
                }
            }
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // So that a restart need not wait for old connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether the connection failed before it was accepted, which concerns nobody else.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
