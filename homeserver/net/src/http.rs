//! Outbound HTTP: what is asked, what comes back, what can go wrong.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream::BoxStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use crate::LookupError;

/// How long a peer has to send the head of its answer, unless the request says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a peer has to send the body of its answer, unless the request says otherwise.
pub const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The most redirects that any request follows, whatever it asks for.
pub const MAX_REDIRECTS: u8 = 20;

/// The guarded outbound HTTP client.
///
/// It refuses to connect to addresses that the operator has not allowed (loopback, private, link-local, multicast and so on by
/// default), after names have been resolved and for every redirect, whoever asks.
#[async_trait]
pub trait Http: Send + Sync {
    /// Sends the request, at most once unless it is idempotent, and gives the answer once its head is there.
    ///
    /// # Errors
    ///
    /// [`SendError`] if there is no answer. An answer with an error status is an answer.
    async fn send(&self, request: OutboundRequest) -> Result<OutboundResponse, SendError>;
}

/// A request to another server.
#[derive(Clone, Debug)]
pub struct OutboundRequest {
    /// The method.
    pub method: Method,
    /// Scheme (`https` or `http`), authority, path and query; path and query are sent exactly as they are here.
    pub uri: Uri,
    /// Headers. `Host` is taken from the URI unless it is set here.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Where to connect.
    pub connect: Connect,
    /// The name (or IP address) that the peer's certificate must be for, also sent as SNI if it is a name. The URI's host if not set.
    pub tls_name: Option<String>,
    /// How long the peer has, from looking up its name to the head of its answer.
    pub timeout: Duration,
    /// How long the peer has, from then on, to send the whole body of its answer.
    pub body_timeout: Duration,
    /// What to do with an answer that redirects.
    pub redirects: Redirects,
}

/// Where a request connects to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Connect {
    /// To the addresses of the URI's host.
    #[default]
    Resolve,
    /// To the first of these that answers.
    To(Vec<SocketAddr>),
}

/// What to do with an answer that redirects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redirects {
    /// It is the answer.
    #[default]
    Return,
    /// `GET` and `HEAD` follow up to this many (never more than [`MAX_REDIRECTS`]), never from `https` to `http`, and leave
    /// `Authorization` and `Cookie` behind when the host changes.
    Follow(u8),
}

impl OutboundRequest {
    /// A request without headers or body, and with the defaults for the rest.
    pub fn new(method: Method, uri: Uri) -> Self {
        Self {
            method,
            uri,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            connect: Connect::default(),
            tls_name: None,
            timeout: DEFAULT_TIMEOUT,
            body_timeout: DEFAULT_BODY_TIMEOUT,
            redirects: Redirects::default(),
        }
    }

    /// A `GET` request.
    pub fn get(uri: Uri) -> Self {
        Self::new(Method::GET, uri)
    }

    /// Sets a header, in place of any of that name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets a body of JSON, with its content type.
    #[must_use]
    pub fn json_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    /// Sets where to connect and whose certificate to expect there, in place of the URI's host.
    #[must_use]
    pub fn connect_to(mut self, addresses: Vec<SocketAddr>, tls_name: impl Into<String>) -> Self {
        self.connect = Connect::To(addresses);
        self.tls_name = Some(tls_name.into());
        self
    }

    /// Sets how long the peer has to send the head of its answer.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long the peer has to send the body of its answer.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// Sets what to do with an answer that redirects.
    #[must_use]
    pub fn redirects(mut self, redirects: Redirects) -> Self {
        self.redirects = redirects;
        self
    }
}

/// The head of an answer, and its body as it comes in.
pub struct OutboundResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// What answered: the request's URI, or that of the last redirect.
    pub uri: Uri,
    /// The address that answered.
    pub peer: SocketAddr,
    body: BoxStream<'static, Result<Bytes, SendError>>,
}

impl OutboundResponse {
    /// An answer from these parts; for those who implement [`Http`].
    pub fn new(
        head: http::response::Parts,
        uri: Uri,
        peer: SocketAddr,
        body: impl Stream<Item = Result<Bytes, SendError>> + Send + 'static,
    ) -> Self {
        Self { status: head.status, headers: head.headers, uri, peer, body: body.boxed() }
    }

    /// The next piece of the body; nothing at its end.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the peer stalls or breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, SendError> {
        self.body.next().await.transpose()
    }

    /// The whole body, if it has at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`SendError`] if it has more (no more than that is read), or the peer stalls or breaks off.
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, SendError> {
        let too_large = |uri: Uri| SendError::BodyTooLarge { uri: uri.to_string(), limit };
        let announced =
            self.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(too_large(self.uri));
        }
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        if first.len() > limit {
            return Err(too_large(self.uri));
        }
        let Some(second) = self.chunk().await? else { return Ok(first) };
        let mut whole = BytesMut::from(first);
        let mut next = Some(second);
        while let Some(piece) = next {
            if whole.len() + piece.len() > limit {
                return Err(too_large(self.uri));
            }
            whole.extend_from_slice(&piece);
            next = self.chunk().await?;
        }
        Ok(whole.freeze())
    }

    /// The body as a stream, without a limit: the caller keeps count.
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes, SendError>> {
        self.body
    }
}

impl fmt::Debug for OutboundResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundResponse")
            .field("status", &self.status)
            .field("uri", &self.uri)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// The request cannot be sent as it is.
    #[error("cannot send a request to {uri}: {detail}")]
    Request {
        /// The request's URI.
        uri: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The host's name has no address.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// All addresses are ones that the operator has not allowed.
    #[error(
        "refusing to connect to {address} for {uri}: it is {because}; if that is meant, set \
         `federation.allow_private_addresses = true`"
    )]
    Refused {
        /// The request's URI.
        uri: String,
        /// The first of the refused addresses.
        address: IpAddr,
        /// What kind of address that is.
        because: &'static str,
    },
    /// No address could be connected to, or none proved to be the right server.
    #[error("cannot connect to {uri}: {}", list(.attempts))]
    Connect {
        /// The request's URI.
        uri: String,
        /// What happened at each address that was tried.
        attempts: Vec<FailedAttempt>,
    },
    /// The peer took too long. If it had the request, it may have acted on it.
    #[error("{uri} did not {what} within {after:?}")]
    Timeout {
        /// The request's URI.
        uri: String,
        /// What it did not do.
        what: &'static str,
        /// How long it had.
        after: Duration,
        /// Whether the connection was still being made, so that the peer cannot have acted on the request.
        unsent: bool,
    },
    /// The connection broke after the request was sent. The peer may have acted on it.
    #[error("the connection to {peer} for {uri} broke: {detail}")]
    Broken {
        /// The request's URI.
        uri: String,
        /// The address connected to.
        peer: SocketAddr,
        /// How it broke.
        detail: String,
    },
    /// The peer redirects in circles, or somewhere that requests must not go.
    #[error("not following the redirect from {uri}: {detail}")]
    Redirect {
        /// What redirected.
        uri: String,
        /// Why it is not followed.
        detail: String,
    },
    /// The body is larger than the caller takes.
    #[error("the answer of {uri} is larger than {limit} bytes")]
    BodyTooLarge {
        /// The request's URI.
        uri: String,
        /// The most the caller takes.
        limit: usize,
    },
}

impl SendError {
    /// Whether the peer certainly did not get the request, so that it cannot have acted on it.
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::Request { .. } | Self::Lookup(_) | Self::Refused { .. } | Self::Connect { .. } => true,
            Self::Timeout { unsent, .. } => *unsent,
            Self::Broken { .. } | Self::Redirect { .. } | Self::BodyTooLarge { .. } => false,
        }
    }

    /// What happened, in words for whoever made us send the request: they learn nothing of this machine's network, such as which
    /// addresses a name has here and what listens there.
    pub fn in_short(&self) -> &'static str {
        match self {
            Self::Request { .. } => "the request cannot be sent as it is",
            Self::Lookup(_) => "its name has no address",
            Self::Refused { .. } => "its address is one that this server does not connect to",
            Self::Connect { .. } => "it cannot be reached",
            Self::Timeout { .. } => "it did not answer in time",
            Self::Broken { .. } => "the connection broke",
            Self::Redirect { .. } => "it redirects to where this server does not follow",
            Self::BodyTooLarge { .. } => "its answer is too large",
        }
    }
}

/// What happened at one address that could not be connected to.
#[derive(Clone, Debug)]
pub struct FailedAttempt {
    /// The address.
    pub address: SocketAddr,
    /// What happened.
    pub error: String,
}

fn list(attempts: &[FailedAttempt]) -> String {
    if attempts.is_empty() {
        return "it has no address".to_owned();
    }
    attempts.iter().map(|attempt| format!("{}: {}", attempt.address, attempt.error)).collect::<Vec<_>>().join("; ")
}

/// Host and port as they go into `Host`, and whether the URI names the port. User names and passwords are not taken.
pub(crate) fn split_authority(uri: &Uri) -> Result<(String, Option<u16>), String> {
    let authority = uri.authority().ok_or("it has no host")?;
    if authority.as_str().contains('@') {
        return Err("it has a user name in it".to_owned());
    }
    if authority.host().is_empty() {
        return Err("it has no host".to_owned());
    }
    Ok((authority.as_str().to_owned(), authority.port_u16()))
}

/// Turns the request into the one that the answer redirects to, if it does; `left` is how many more are followed.
pub(crate) fn next_hop(
    request: &mut OutboundRequest,
    answer: &OutboundResponse,
    left: &mut u8,
) -> Result<bool, SendError> {
    let redirects = matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let harmless = request.method == Method::GET || request.method == Method::HEAD;
    let Some(location) = answer.headers.get(header::LOCATION).filter(|_| redirects && harmless) else {
        return Ok(false);
    };
    let refuse = |detail: &str| SendError::Redirect { uri: answer.uri.to_string(), detail: detail.to_owned() };
    *left = left.checked_sub(1).ok_or_else(|| refuse("it redirects too often"))?;
    let location = std::str::from_utf8(location.as_bytes()).map_err(|_| refuse("its location is not UTF-8"))?;
    let base = url::Url::parse(&request.uri.to_string()).map_err(|_| refuse("it does not come from a URL"))?;
    let mut target = base.join(location).map_err(|error| refuse(&format!("its location is not a URL: {error}")))?;
    target.set_fragment(None);
    match (base.scheme(), target.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err(refuse("it leads from https to http")),
        (_, other) => return Err(refuse(&format!("it leads to the scheme {other:?}"))),
    }
    if target.host() != base.host() || target.port_or_known_default() != base.port_or_known_default() {
        for secret in [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION] {
            request.headers.remove(secret);
        }
    }
    request.uri = target.as_str().parse().map_err(|_| refuse("its location is not a URI"))?;
    // Both were about the place that the first URI named.
    request.headers.remove(header::HOST);
    request.tls_name = None;
    request.connect = Connect::Resolve;
    Ok(true)
}
