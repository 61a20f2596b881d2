//! Sending one signed request.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, header};
use net::{OutboundRequest, OutboundResponse};
use serde::de::DeserializeOwned;

use super::{Client, Path, PeerError, RequestError, Route, Scheme, TIMEOUT};
use crate::{
    auth::RequestToSign,
    crowded::is_crowded,
    ids::is_server_name,
    limits::{MAX_ANSWER, MAX_ERROR_ANSWER},
};

/// A request to a peer.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: Path,
    /// The body: canonical JSON, as it is signed.
    pub body: Option<Bytes>,
    /// How long the peer has to begin its answer, and then again to send it.
    pub timeout: Duration,
    /// The largest answer that is read, in bytes.
    pub limit: usize,
    /// Whether the request is signed; everything is, but questions for keys and versions.
    pub signed: bool,
}

/// A peer's answer with a status of success.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Who answered.
    pub destination: String,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// A signed `GET`.
    pub fn get(path: Path) -> Self {
        Self { method: Method::GET, path, body: None, timeout: TIMEOUT, limit: MAX_ANSWER, signed: true }
    }

    /// A signed `PUT` of canonical JSON.
    pub fn put(path: Path, body: Bytes) -> Self {
        Self { method: Method::PUT, body: Some(body), ..Self::get(path) }
    }

    /// A signed `POST` of canonical JSON.
    pub fn post(path: Path, body: Bytes) -> Self {
        Self { method: Method::POST, body: Some(body), ..Self::get(path) }
    }

    /// Sets how long the peer has.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the largest answer that is read.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Does not sign it.
    #[must_use]
    pub fn unsigned(mut self) -> Self {
        self.signed = false;
        self
    }
}

impl Answer {
    /// Reads the body into a type.
    ///
    /// # Errors
    ///
    /// [`RequestError::Malformed`] if it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, RequestError> {
        serde_json::from_slice(&self.body).map_err(|error| self.malformed(error))
    }

    /// [`Self::json`], for types that hold JSON values of any form: what such values take in memory is many times what the shortest of them take
    /// on the wire, so that an answer of nothing but those is refused.
    ///
    /// # Errors
    ///
    /// [`RequestError::Malformed`] if it is something else, or made of too many values for its length.
    pub fn json_of_values<T: DeserializeOwned>(&self) -> Result<T, RequestError> {
        if is_crowded(&self.body) {
            return Err(self.malformed("it has more values than such an answer can have"));
        }
        self.json()
    }

    /// That this answer makes no sense.
    pub fn malformed(&self, because: impl std::fmt::Display) -> RequestError {
        RequestError::Malformed { destination: self.destination.clone(), because: because.to_string() }
    }
}

impl Client {
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    ///
    /// [`RequestError`]: no answer, one with an error status, or one that is too large.
    pub async fn request(&self, destination: &str, request: Request) -> Result<Answer, RequestError> {
        let limit = request.limit;
        let response = self.send(destination, request).await?;
        let status = response.status;
        let send_error = |cause| RequestError::Send { destination: destination.to_owned(), cause };
        if status.is_success() {
            let body = response.bytes(limit).await.map_err(send_error)?;
            return Ok(Answer { destination: destination.to_owned(), body });
        }
        // What the peer says is worth having, but not worth failing differently for.
        let body = response.bytes(MAX_ERROR_ANSWER).await.unwrap_or_default();
        let error = PeerError::read(status.as_u16(), &body);
        Err(RequestError::Peer { destination: destination.to_owned(), error })
    }

    /// Sends a request and gives whatever comes back once its head is there, for those who read the body as it comes.
    ///
    /// # Errors
    ///
    /// [`RequestError`] if nothing comes back.
    pub async fn send(&self, destination: &str, request: Request) -> Result<OutboundResponse, RequestError> {
        let unfit = |because: String| RequestError::Unfit { destination: destination.to_owned(), because };
        if !is_server_name(destination) {
            return Err(unfit("that is not a server name".to_owned()));
        }
        if destination == self.server_name() {
            return Err(unfit("that is this server itself".to_owned()));
        }
        let authorization =
            if request.signed { Some(self.authorization(destination, &request).map_err(unfit)?) } else { None };
        let routes = &self.inner.routes;
        let found = routes.routes(destination).await;
        let found = found.map_err(|cause| RequestError::NoRoute { destination: destination.to_owned(), cause })?;
        let mut failure = None;
        for route in &found {
            let outbound = outbound(route, &request, authorization.clone()).map_err(unfit)?;
            match self.inner.world.http().send(outbound).await {
                Ok(response) if response.status != StatusCode::MISDIRECTED_REQUEST => return Ok(response),
                Ok(response) => failure = Some(Ok(response)),
                // The peer may have acted on it: the caller decides whether to ask again.
                Err(cause) if !cause.is_unsent() => {
                    return Err(RequestError::Send { destination: destination.to_owned(), cause });
                }
                Err(cause) => failure = Some(Err(RequestError::Send { destination: destination.to_owned(), cause })),
            }
        }
        routes.unreachable(destination);
        failure.unwrap_or_else(|| {
            let cause = super::RouteError("its name has no address".to_owned());
            Err(RequestError::NoRoute { destination: destination.to_owned(), cause })
        })
    }

    fn authorization(&self, destination: &str, request: &Request) -> Result<HeaderValue, String> {
        let to_sign = RequestToSign {
            method: request.method.as_str(),
            uri: request.path.as_str(),
            origin: self.server_name(),
            destination,
            content: request.body.as_deref(),
        };
        let header = to_sign.sign(&self.inner.keys.current).map_err(|error| error.to_string())?;
        HeaderValue::from_str(&header.to_string()).map_err(|error| error.to_string())
    }
}

fn outbound(route: &Route, request: &Request, authorization: Option<HeaderValue>) -> Result<OutboundRequest, String> {
    let scheme = match route.scheme {
        Scheme::Https => "https",
        Scheme::Http => "http",
    };
    let uri: Uri =
        format!("{scheme}://{}{}", route.host, request.path.as_str()).parse().map_err(|error| format!("{error}"))?;
    let host = HeaderValue::from_str(&route.host).map_err(|error| error.to_string())?;
    let mut outbound = OutboundRequest::new(request.method.clone(), uri)
        .header(header::HOST, host)
        .connect_to(route.addresses.clone(), route.tls_name.clone())
        .timeout(request.timeout)
        .body_timeout(request.timeout);
    if let Some(authorization) = authorization {
        outbound = outbound.header(header::AUTHORIZATION, authorization);
    }
    if let Some(body) = &request.body {
        outbound = outbound.json_body(body.clone());
    }
    Ok(outbound)
}
