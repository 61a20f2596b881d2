//! Requests between machines.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, channel::oneshot, future::BoxFuture, stream};
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt, Full};
use tower::{Service, ServiceExt};

use super::{
    network::Fate,
    parts::{Machine, sleep},
    trace::short,
};
use crate::{
    Clock, Connect, FailedAttempt, Http, OutboundRequest, OutboundResponse, Redirects, Resolver, SendError,
    http::{next_hop, split_authority},
};

/// How long a connection is waited for that nothing answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Who sent a request: an extension of requests that come in through a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// What a port of a simulated machine proves itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Nothing: the port speaks plain HTTP.
    None,
    /// A certificate for these names and IP addresses, which all machines trust.
    For(BTreeSet<String>),
}

impl Certificate {
    /// A certificate for one name.
    pub fn of(name: &str) -> Self {
        Self::For(BTreeSet::from([name.to_ascii_lowercase()]))
    }
}

/// What listens on a port.
#[derive(Clone)]
pub(crate) struct Listener {
    host: Arc<str>,
    life: u64,
    certificate: Certificate,
    answer: Arc<Handler>,
}

type Handler = dyn Fn(http::Request<Full<Bytes>>) -> BoxFuture<'static, Result<Response<Bytes>, String>> + Send + Sync;

pub(crate) fn listener<S, B>(host: Arc<str>, life: u64, certificate: Certificate, service: S) -> Listener
where
    S: Service<http::Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: std::fmt::Display,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    let answer = Arc::new(move |request| {
        let service = service.clone();
        async move {
            let answer = service.oneshot(request).await.map_err(|error| error.to_string())?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok(Response::from_parts(head, body))
        }
        .boxed()
    });
    Listener { host, life, certificate, answer }
}

#[async_trait]
impl Http for Machine {
    async fn send(&self, mut request: OutboundRequest) -> Result<OutboundResponse, SendError> {
        let deadline = self.monotonic().saturating_add(request.timeout);
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

impl Machine {
    async fn exchange(&self, request: &OutboundRequest, deadline: Duration) -> Result<OutboundResponse, SendError> {
        let uri = request.uri.to_string();
        let late = |what, unsent| SendError::Timeout { uri: uri.clone(), what, after: request.timeout, unsent };
        let (at, listener) = self
            .until(deadline, self.connect(request))
            .await
            .unwrap_or_else(|| Err(late("accept a connection", true)))?;
        let (head, body) = self
            .until(deadline, self.converse(request, at, &listener))
            .await
            .unwrap_or_else(|| Err(late("answer", false)))?
            .into_parts();
        let pieces = (!body.is_empty()).then_some(Ok(body));
        Ok(OutboundResponse::new(head, request.uri.clone(), at, stream::iter(pieces)))
    }

    /// Finds the first address where the right server listens and can be reached.
    async fn connect(&self, request: &OutboundRequest) -> Result<(SocketAddr, Listener), SendError> {
        let uri = request.uri.to_string();
        let bad = |detail: String| SendError::Request { uri: uri.clone(), detail };
        split_authority(&request.uri).map_err(bad)?;
        let secure = match request.uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("its scheme must be https or http".to_owned())),
        };
        let host = request.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<SocketAddr> = match &request.connect {
            Connect::To(addresses) => addresses.clone(),
            Connect::Resolve => {
                let port = request.uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
                let found: Vec<IpAddr> = self.lookup_ip(host).await?.records;
                found.into_iter().map(|address| SocketAddr::new(address, port)).collect()
            }
        };
        let wanted = secure.then(|| request.tls_name.as_deref().unwrap_or(host).to_ascii_lowercase());
        let mut attempts = Vec::new();
        for address in addresses {
            match self.connect_to(address, wanted.as_deref()).await {
                Ok(listener) => return Ok((address, listener)),
                Err(error) => attempts.push(FailedAttempt { address, error }),
            }
        }
        Err(SendError::Connect { uri, attempts })
    }

    async fn connect_to(&self, address: SocketAddr, wanted: Option<&str>) -> Result<Listener, String> {
        let (reachable, pause) = {
            let mut state = self.core.lock();
            let owner = state.network.owners.get(&address.ip()).cloned();
            match owner {
                None => (false, CONNECT_TIMEOUT),
                Some(owner) => {
                    let back = state.network.is_cut(&owner, &self.name);
                    match state.network.fate(&self.name, &owner) {
                        Fate::Arrives { after } if !back => (true, after),
                        _ => (false, CONNECT_TIMEOUT),
                    }
                }
            }
        };
        sleep(self.core.clone(), pause).await;
        let mut state = self.core.lock();
        let listener = state.network.listeners.get(&address).cloned();
        let outcome = match listener {
            _ if !reachable => Err(format!("no connection within {CONNECT_TIMEOUT:?}")),
            None => Err("connection refused".to_owned()),
            Some(listener) => match (&listener.certificate, wanted) {
                (Certificate::None, None) => Ok(listener),
                (Certificate::None, Some(_)) => Err("the port does not speak TLS".to_owned()),
                (Certificate::For(_), None) => Err("the port speaks TLS only".to_owned()),
                (Certificate::For(names), Some(wanted)) if names.contains(wanted) => Ok(listener),
                (Certificate::For(names), Some(wanted)) => {
                    Err(format!("the certificate is for {names:?}, and not for {wanted}"))
                }
            },
        };
        let said = outcome.as_ref().err().map_or("connected", |error| error.as_str());
        state.record("connect", &format!("{} {address} {said}", self.name));
        outcome
    }

    /// Request there, answer back.
    async fn converse(
        &self,
        request: &OutboundRequest,
        at: SocketAddr,
        listener: &Listener,
    ) -> Result<Response<Bytes>, SendError> {
        let uri = request.uri.to_string();
        let broken = |detail: String| SendError::Broken { uri: uri.clone(), peer: at, detail };
        let message = self.message(request)?;
        let line = format!("{} {at} {} {uri} {}", self.name, request.method, short(&request.body));
        self.travel(&self.name, &listener.host, "request", &line).await.map_err(broken)?;

        let (sender, answer) = oneshot::channel();
        let work = (listener.answer)(message);
        // The other machine goes on with it even if this one does not wait for the answer.
        let task = async move { drop(sender.send(work.await)) };
        let run = crate::tasks::start(&self.tasks_of(listener), "request", task);
        let answer = answer.await;
        drop(run);
        let answer = match answer {
            Ok(answer) => answer.map_err(broken)?,
            Err(oneshot::Canceled) => return Err(broken("connection reset".to_owned())),
        };

        let line = format!("{} {at} {} {uri} {} {}", self.name, request.method, answer.status(), short(answer.body()));
        self.travel(&listener.host, &self.name, "answer", &line).await.map_err(broken)?;
        Ok(answer)
    }

    fn tasks_of(&self, listener: &Listener) -> Arc<dyn crate::Tasks> {
        Arc::new(Machine { core: self.core.clone(), name: listener.host.clone(), life: listener.life })
    }

    /// Waits until a message has arrived; forever, if it vanishes.
    async fn travel(&self, from: &str, to: &str, kind: &'static str, line: &str) -> Result<(), String> {
        let fate = self.core.lock().network.fate(from, to);
        match fate {
            Fate::Arrives { after } => {
                sleep(self.core.clone(), after).await;
                let mut state = self.core.lock();
                // Cut while it was on its way.
                if !state.network.is_cut(from, to) {
                    state.record(kind, line);
                    return Ok(());
                }
                state.record(kind, &format!("{line} vanished"));
            }
            Fate::Breaks { after } => {
                self.core.lock().record(kind, &format!("{line} broke"));
                sleep(self.core.clone(), after).await;
                return Err("connection reset".to_owned());
            }
            Fate::Vanishes => self.core.lock().record(kind, &format!("{line} vanished")),
        }
        std::future::pending().await
    }

    fn message(&self, request: &OutboundRequest) -> Result<http::Request<Full<Bytes>>, SendError> {
        let bad = |detail: String| SendError::Request { uri: request.uri.to_string(), detail };
        let (authority, _) = split_authority(&request.uri).map_err(bad)?;
        let mut message = http::Request::new(Full::new(request.body.clone()));
        *message.method_mut() = request.method.clone();
        let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
        *message.uri_mut() = path.parse().map_err(|error: http::uri::InvalidUri| bad(error.to_string()))?;
        *message.headers_mut() = request.headers.clone();
        if !message.headers().contains_key(header::HOST) {
            let host = HeaderValue::from_str(&authority).map_err(|error| bad(error.to_string()))?;
            message.headers_mut().insert(header::HOST, host);
        }
        message.headers_mut().insert(header::CONTENT_LENGTH, request.body.len().into());
        let address =
            self.core.lock().network.owners.iter().find(|(_, owner)| **owner == *self.name).map(|(ip, _)| *ip);
        if let Some(address) = address {
            message.extensions_mut().insert(PeerAddress(SocketAddr::new(address, 0)));
        }
        Ok(message)
    }

    /// Runs `future` until `deadline`.
    async fn until<F: Future>(&self, deadline: Duration, future: F) -> Option<F::Output> {
        let left = deadline.saturating_sub(self.monotonic());
        let timer = std::pin::pin!(sleep(self.core.clone(), left));
        match futures::future::select(std::pin::pin!(future), timer).await {
            futures::future::Either::Left((output, _)) => Some(output),
            futures::future::Either::Right(((), _)) => None,
        }
    }
}
