//! Making a connection: several addresses, TCP, TLS, HTTP/2 or HTTP/1.1.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::FailedAttempt;

/// How long one address has to take the connection and finish the TLS handshake.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after one address the next is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// The most addresses that one request tries.
pub(crate) const MAX_ADDRESSES: usize = 32;

/// The most bytes of header that a peer may send.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// How often a used HTTP/2 connection is checked, and how long the peer has to answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// HTTP/2 flow control: what a peer may send ahead, per answer and per connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// A connection that takes requests. Its other half runs as a task until the last sender is dropped.
pub(crate) enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Sends a request whose URI is absolute and whose `Host` is set, as this protocol wants it.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        match self {
            Self::Http1(sender) => {
                // If the connection is closed, `try_send_request` says so and gives the request back.
                let _ = sender.ready().await;
                if let Some(path) = request.uri().path_and_query().cloned() {
                    *request.uri_mut() = path.into();
                }
                sender.try_send_request(request).await
            }
            Self::Http2(sender) => {
                let _ = sender.ready().await;
                // `:authority` takes its place (RFC 9113, section 8.3.1).
                request.headers_mut().remove(http::header::HOST);
                sender.try_send_request(request).await
            }
        }
    }
}

/// Connects to the first of `addresses` that answers and, with TLS, proves its name.
///
/// They are tried in order; the next starts when one fails, or is slow, beside it.
pub(crate) async fn dial(
    addresses: &[SocketAddr],
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
) -> Result<(SocketAddr, Sender), Vec<FailedAttempt>> {
    let mut waiting = addresses.iter().copied().take(MAX_ADDRESSES);
    let mut running = FuturesUnordered::new();
    let mut failed = Vec::new();
    loop {
        let more = match waiting.next() {
            Some(address) => {
                running.push(attempt(address, tls.clone()));
                waiting.len() > 0
            }
            None => false,
        };
        let finished =
            if more { tokio::time::timeout(STAGGER, running.next()).await } else { Ok(running.next().await) };
        match finished {
            Ok(Some((address, Ok(sender)))) => return Ok((address, sender)),
            Ok(Some((address, Err(error)))) => failed.push(FailedAttempt { address, error }),
            Ok(None) => return Err(failed),
            Err(_slow) => {}
        }
    }
}

async fn attempt(
    address: SocketAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
) -> (SocketAddr, Result<Sender, String>) {
    let result = match tokio::time::timeout(ATTEMPT_TIMEOUT, connect(address, tls)).await {
        Ok(result) => result,
        Err(_) => Err(format!("no connection within {ATTEMPT_TIMEOUT:?}")),
    };
    (address, result)
}

async fn connect(address: SocketAddr, tls: Option<(Arc<ClientConfig>, ServerName<'static>)>) -> Result<Sender, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let Some((config, name)) = tls else { return http1(stream).await };
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| format!("the TLS handshake failed: {error}"))?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") { http2(stream).await } else { http1(stream).await }
}

async fn http1<S>(stream: S) -> Result<Sender, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_header_size(MAX_HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| format!("the HTTP/1.1 connection failed: {error}"))?;
    tokio::spawn(async move {
        // What went wrong is told to the request that it went wrong for.
        let _ = connection.await;
    });
    Ok(Sender::Http1(sender))
}

async fn http2<S>(stream: S) -> Result<Sender, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| format!("the HTTP/2 connection failed: {error}"))?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(Sender::Http2(sender))
}
