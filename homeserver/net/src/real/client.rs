//! The guarded outbound HTTP client.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, Method, Request, Response, Uri, Version, header, uri::Scheme};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    dial::{self, Sender},
    guard::Guard,
    pool::{Key, Pool},
};
use crate::{
    Connect, Http, OutboundRequest, OutboundResponse, Redirects, Resolver, SendError,
    http::{next_hop, split_authority},
};

/// The most requests under way at once; further ones wait their turn, within their timeout.
const MAX_EXCHANGES: usize = 512;

/// How long a peer may pause in the middle of a body.
const BODY_PAUSE: Duration = Duration::from_secs(30);

/// The client over this machine's network.
pub(crate) struct Client {
    resolver: Arc<dyn Resolver>,
    guard: Guard,
    tls: Arc<ClientConfig>,
    user_agent: Option<HeaderValue>,
    pool: Arc<Pool>,
    exchanges: Arc<Semaphore>,
}

impl Client {
    pub(crate) fn new(
        resolver: Arc<dyn Resolver>,
        guard: Guard,
        tls: Arc<ClientConfig>,
        user_agent: Option<HeaderValue>,
    ) -> Self {
        let exchanges = Arc::new(Semaphore::new(MAX_EXCHANGES));
        Self { resolver, guard, tls, user_agent, pool: Arc::default(), exchanges }
    }

    /// One request and its answer, without redirects.
    async fn exchange(&self, request: &OutboundRequest, deadline: Instant) -> Result<OutboundResponse, SendError> {
        let uri = &request.uri;
        let late =
            |what, unsent| move |_| SendError::Timeout { uri: uri.to_string(), what, after: request.timeout, unsent };
        let message = self.message(request)?;
        let reaching = async {
            let permit = self.exchanges.clone().acquire_owned().await.ok();
            Ok::<_, SendError>((permit, self.route(request).await?))
        };
        let (permit, route) =
            tokio::time::timeout_at(deadline, reaching).await.map_err(late("let itself be found", true))??;

        // A waiting connection may have been closed by the peer in the meantime. What was certainly not sent can be sent again,
        // and so can what does no harm twice (RFC 9110, section 9.2.2).
        let mut message = message;
        if let Some((key, mut sender)) = self.pool.take(route.keys.iter()) {
            let spare = is_idempotent(&request.method).then(|| message.clone());
            let sent = tokio::time::timeout_at(deadline, sender.send(message)).await;
            match sent.map_err(late("answer", false))? {
                Ok(answer) => return Ok(self.answer(request, answer, key, sender, permit)),
                Err(mut error) => {
                    // What the connection gives back has been changed to fit it; headers and body are the same.
                    let unsent = error.take_message().is_some();
                    match spare {
                        Some(spare) => message = spare,
                        None if unsent => message = self.message(request)?,
                        None => return Err(broken(uri, key.peer, error.error())),
                    }
                }
            }
        }

        let addresses: Vec<SocketAddr> = route.keys.iter().map(|key| key.peer).collect();
        let tls = route.tls_name.map(|name| (self.tls.clone(), name));
        let (peer, mut sender) = tokio::time::timeout_at(deadline, dial::dial(&addresses, tls))
            .await
            .map_err(late("accept a connection", true))?
            .map_err(|attempts| SendError::Connect { uri: uri.to_string(), attempts })?;
        let tls_name = route.keys.first().and_then(|key| key.tls_name.clone());
        let key = Key { peer, tls_name };
        let answer = tokio::time::timeout_at(deadline, sender.send(message))
            .await
            .map_err(late("answer", false))?
            .map_err(|error| broken(uri, peer, error.error()))?;
        Ok(self.answer(request, answer, key, sender, permit))
    }

    /// The request as hyper takes it.
    fn message(&self, request: &OutboundRequest) -> Result<Request<Full<Bytes>>, SendError> {
        let bad = |detail: String| SendError::Request { uri: request.uri.to_string(), detail };
        let (host, _) = split_authority(&request.uri).map_err(bad)?;
        let mut headers = request.headers.clone();
        let host = match headers.get(header::HOST) {
            Some(host) => host.clone(),
            None => HeaderValue::from_str(&host).map_err(|error| bad(error.to_string()))?,
        };
        let authority = host.to_str().map_err(|error| bad(error.to_string()))?.to_owned();
        headers.insert(header::HOST, host);
        if let Some(agent) = &self.user_agent {
            headers.entry(header::USER_AGENT).or_insert_with(|| agent.clone());
        }
        let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
        let scheme = request.uri.scheme().unwrap_or(&Scheme::HTTPS).clone();
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(path)
            .build()
            .map_err(|error| bad(error.to_string()))?;
        let mut message = Request::new(Full::new(request.body.clone()));
        *message.method_mut() = request.method.clone();
        *message.uri_mut() = uri;
        *message.headers_mut() = headers;
        *message.version_mut() = Version::HTTP_11;
        Ok(message)
    }

    /// Which connections would do: every allowed address, with the name to be proved there.
    async fn route(&self, request: &OutboundRequest) -> Result<Route, SendError> {
        let uri = &request.uri;
        let bad = |detail: String| SendError::Request { uri: uri.to_string(), detail };
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("its scheme must be https or http".to_owned())),
        };
        let host = uri.host().ok_or_else(|| bad("it has no host".to_owned()))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tls_name = if secure {
            let name = request.tls_name.as_deref().unwrap_or(host).trim_start_matches('[').trim_end_matches(']');
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            Some(ServerName::try_from(name).map_err(|_| bad("its host cannot be in a certificate".to_owned()))?)
        } else {
            None
        };
        let addresses = match &request.connect {
            Connect::To(addresses) => addresses.clone(),
            Connect::Resolve => {
                let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
                let found = match host.parse::<IpAddr>() {
                    Ok(address) => vec![address],
                    Err(_) => self.resolver.lookup_ip(host).await?.records,
                };
                found.into_iter().map(|address| SocketAddr::new(address, port)).collect()
            }
        };
        let shared_name: Option<Arc<str>> = tls_name.as_ref().map(|name| name.to_str().into());
        let mut keys = Vec::with_capacity(addresses.len());
        let mut refused = None;
        for address in addresses {
            match self.guard.refuses(address.ip()) {
                None => keys.push(Key { peer: address, tls_name: shared_name.clone() }),
                Some(because) => refused = refused.or(Some((address.ip(), because))),
            }
        }
        match refused {
            Some((address, because)) if keys.is_empty() => {
                Err(SendError::Refused { uri: uri.to_string(), address, because })
            }
            _ => Ok(Route { keys, tls_name }),
        }
    }

    /// The answer as the caller gets it; its connection goes back to the pool when the body has been read.
    fn answer(
        &self,
        request: &OutboundRequest,
        answer: Response<Incoming>,
        key: Key,
        sender: Sender,
        permit: Option<OwnedSemaphorePermit>,
    ) -> OutboundResponse {
        let (head, body) = answer.into_parts();
        let peer = key.peer;
        let mut reading = Reading {
            uri: request.uri.clone(),
            peer,
            deadline: Instant::now() + request.body_timeout,
            body_timeout: request.body_timeout,
            body,
            lease: None,
            pool: self.pool.clone(),
            _permit: permit,
        };
        match sender {
            Sender::Http2(_) => self.pool.put(key, sender),
            Sender::Http1(_) => reading.lease = Some((key, sender)),
        }
        if reading.body.is_end_stream() {
            reading.give_back();
        }
        let body = stream::try_unfold(Some(reading), |reading| async move {
            let Some(mut reading) = reading else { return Ok(None) };
            match reading.next().await? {
                Some(bytes) => Ok(Some((bytes, Some(reading)))),
                None => Ok(None),
            }
        });
        OutboundResponse::new(head, request.uri.clone(), peer, body)
    }
}

#[async_trait]
impl Http for Client {
    async fn send(&self, mut request: OutboundRequest) -> Result<OutboundResponse, SendError> {
        let deadline = Instant::now() + request.timeout;
        let mut left = match request.redirects {
            Redirects::Follow(most) => most.min(crate::MAX_REDIRECTS),
            Redirects::Return => 0,
        };
        loop {
            let answer = self.exchange(&request, deadline).await?;
            if request.redirects == Redirects::Return || !next_hop(&mut request, &answer, &mut left)? {
                return Ok(answer);
            }
        }
    }
}

struct Route {
    keys: Vec<Key>,
    tls_name: Option<ServerName<'static>>,
}

/// A body on its way in.
struct Reading {
    uri: Uri,
    peer: SocketAddr,
    deadline: Instant,
    body_timeout: Duration,
    body: Incoming,
    lease: Option<(Key, Sender)>,
    pool: Arc<Pool>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, SendError> {
        loop {
            let until = self.deadline.min(Instant::now() + BODY_PAUSE);
            let frame = tokio::time::timeout_at(until, self.body.frame()).await.map_err(|_| SendError::Timeout {
                uri: self.uri.to_string(),
                what: "send its whole answer",
                after: if until == self.deadline { self.body_timeout } else { BODY_PAUSE },
                unsent: false,
            })?;
            match frame {
                None => {
                    self.give_back();
                    return Ok(None);
                }
                Some(Err(error)) => return Err(broken(&self.uri, self.peer, &error)),
                // Trailers say nothing that Matrix uses.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => {
                        // A caller that knows the length does not ask for the end.
                        if self.body.is_end_stream() {
                            self.give_back();
                        }
                        return Ok(Some(bytes));
                    }
                    _ => {}
                },
            }
        }
    }

    fn give_back(&mut self) {
        if let Some((key, sender)) = self.lease.take() {
            self.pool.put(key, sender);
        }
    }
}

fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE].contains(method)
}

fn broken(uri: &Uri, peer: SocketAddr, error: &hyper::Error) -> SendError {
    // hyper keeps the reason (a reset, a malformed header) in the source.
    let detail = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    SendError::Broken { uri: uri.to_string(), peer, detail }
}
