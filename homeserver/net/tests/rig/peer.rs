//! An HTTP server that writes down what it sees.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Method, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;

/// A request as a peer saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The address that was connected to.
    pub at: SocketAddr,
    /// Counts this peer's connections from 1.
    pub connection: usize,
    /// The name in the TLS handshake.
    pub sni: Option<String>,
    /// `Host`, or `:authority`.
    pub host: String,
    pub version: Version,
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What a peer does about a request.
pub enum Reply {
    Answer(Response<Bytes>),
    /// The head, these pieces, and then nothing more if `stall`, else the end.
    Pieces {
        pieces: Vec<Bytes>,
        stall: bool,
    },
    /// Nothing, ever.
    Hang,
    /// Closes the connection (HTTP/2: the stream) without a word.
    Close,
}

pub struct Peer {
    pub at: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
    listening: AbortHandle,
}

type Handler = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

pub fn text(status: u16, body: &str) -> Reply {
    Reply::Answer(Response::builder().status(status).body(Bytes::copy_from_slice(body.as_bytes())).unwrap())
}

pub fn redirect(status: u16, location: &str) -> Reply {
    Reply::Answer(Response::builder().status(status).header(header::LOCATION, location).body(Bytes::new()).unwrap())
}

impl Peer {
    /// Listens, with TLS if there is a configuration for it.
    pub async fn start(
        at: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(at).await.unwrap_or_else(|error| panic!("cannot listen on {at}: {error}"));
        let at = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let connections = Arc::new(AtomicUsize::new(0));
        let tasks = Arc::<Mutex<Vec<AbortHandle>>>::default();
        let handler: Handler = Arc::new(handler);
        let accepting = accept(listener, tls, handler, seen.clone(), connections.clone(), tasks.clone());
        let listening = tokio::spawn(accepting).abort_handle();
        Self { at, seen, connections, tasks, listening }
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many connections there have been (with TLS: whose handshake has succeeded).
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Closes all open connections, and goes on listening.
    pub fn close_connections(&self) {
        self.tasks.lock().unwrap().drain(..).for_each(|task| task.abort());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.listening.abort();
        self.close_connections();
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    handler: Handler,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, handler, seen, connections) = (tls.clone(), handler.clone(), seen.clone(), connections.clone());
        let at = stream.local_addr().unwrap();
        let task = tokio::spawn(async move {
            match tls {
                None => {
                    let connection = connections.fetch_add(1, Ordering::SeqCst) + 1;
                    serve(stream, at, connection, None, handler, seen).await;
                }
                Some(tls) => {
                    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
                    let connection = connections.fetch_add(1, Ordering::SeqCst) + 1;
                    let sni = stream.get_ref().1.server_name().map(str::to_owned);
                    serve(stream, at, connection, sni, handler, seen).await;
                }
            }
        });
        tasks.lock().unwrap().push(task.abort_handle());
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    at: SocketAddr,
    connection: usize,
    sni: Option<String>,
    handler: Handler,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (sni, handler, seen) = (sni.clone(), handler.clone(), seen.clone());
        async move {
            let (head, body) = request.into_parts();
            let host = match head.headers.get(header::HOST) {
                Some(host) => host.to_str().unwrap().to_owned(),
                None => head.uri.authority().map(ToString::to_string).unwrap_or_default(),
            };
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            let request = Seen {
                at,
                connection,
                sni,
                host,
                version: head.version,
                method: head.method,
                target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
                headers: head.headers,
                body,
            };
            let reply = handler(&request);
            seen.lock().unwrap().push(request);
            match reply {
                Reply::Answer(answer) => Ok(answer.map(|body| UnsyncBoxBody::new(Full::new(body)))),
                Reply::Hang => std::future::pending().await,
                Reply::Close => Err("closed by the test".to_owned()),
                Reply::Pieces { pieces, stall } => {
                    let pieces =
                        futures::stream::iter(pieces.into_iter().map(|piece| Ok::<_, Infallible>(Frame::data(piece))));
                    let rest = futures::stream::once(async move {
                        if stall {
                            std::future::pending::<()>().await;
                        }
                        Ok(Frame::data(Bytes::new()))
                    });
                    let body = UnsyncBoxBody::new(StreamBody::new(pieces.chain(rest).boxed()));
                    Ok(Response::builder().status(StatusCode::OK).body(body).unwrap())
                }
            }
        }
    });
    // Whatever ends it, the test sees it from the other side.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}
