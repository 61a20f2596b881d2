//! Reading a request: its signature, its parameters, its body.

use std::{borrow::Cow, sync::Arc};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use state_res::sign::VerifyKey;
use url::form_urlencoded;

use super::Shared;
use crate::{
    ApiError, RawJson,
    auth::{RequestToSign, SignatureProblem, XMatrix},
    ids::{MAX_ID_BYTES, is_server_name, server_of},
    limits::{BODY_TIMEOUT, MAX_AUTHORIZATION_HEADERS, MAX_QUERY_PARAMETERS, MAX_REQUEST_BODY, MAX_TRANSACTION_BODY},
};

pub use crate::auth::MAX_NESTING;

/// A request whose parameters have been read, and whose signature, unless its endpoint asks for none, has been verified.
pub(super) struct Parameters {
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
}

/// A request of another server, whose signature has been verified.
pub(super) struct Signed<const MAX_BODY: usize = MAX_REQUEST_BODY> {
    /// The server that signed it.
    pub(super) origin: String,
    /// Path and query.
    pub(super) parameters: Parameters,
    body: Bytes,
}

/// A transaction, which may be larger than other requests.
pub(super) type SignedTransaction = Signed<MAX_TRANSACTION_BODY>;

/// A request that anyone may make.
pub(super) struct Unsigned {
    /// Path and query.
    pub(super) parameters: Parameters,
    body: Bytes,
}

impl<const MAX_BODY: usize> FromRequest<Arc<Shared>> for Signed<MAX_BODY> {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let headers = authorizations(&parts.headers)?;
        let origin = check_ends(&headers, &shared.inbound.keys.own().server_name)?;
        // Before the body: who names a server that has no keys does not make us hold a body while we find that out.
        let keys = keys(shared, &origin, &headers).await?;
        let parameters = Parameters::read(&mut parts).await?;
        let body = read_body(shared, body, MAX_BODY).await?;
        verify(shared, &parts, &headers, &keys, &body).inspect_err(|error| {
            // In the name of whoever is claimed, who may have nothing to do with it.
            shared.complaints.about(&origin, "request in its name", error);
        })?;
        (shared.inbound.seen)(&origin);
        Ok(Self { origin, parameters, body })
    }
}

impl FromRequest<Arc<Shared>> for Unsigned {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let parameters = Parameters::read(&mut parts).await?;
        let body = read_body(shared, body, MAX_REQUEST_BODY).await?;
        Ok(Self { parameters, body })
    }
}

impl<const MAX_BODY: usize> Signed<MAX_BODY> {
    /// The body as a type.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        json(&self.body)
    }

    /// The body as text: an object.
    pub(super) fn object(&self) -> Result<RawJson, ApiError> {
        let raw: RawJson = json(&self.body)?;
        if raw.is_object() { Ok(raw) } else { Err(ApiError::bad_json("The body is not a JSON object.")) }
    }

    /// A user id of the path that has to belong to the asker.
    pub(super) fn own_user(&self, name: &str) -> Result<&str, ApiError> {
        let user_id = self.parameters.user(name)?;
        if server_of(user_id) == Some(&self.origin) {
            Ok(user_id)
        } else {
            Err(ApiError::forbidden(format!("{user_id} is not a user of {}, which asks.", self.origin)))
        }
    }
}

impl Unsigned {
    /// The body as a type.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        json(&self.body)
    }
}

impl Parameters {
    async fn read(parts: &mut Parts) -> Result<Self, ApiError> {
        let path = RawPathParams::from_request_parts(parts, &()).await;
        let path = path.map_err(|error| ApiError::invalid_param(format!("The path cannot be read: {error}.")))?;
        let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let query: Vec<_> =
            query.map(|(name, value)| (name.into_owned(), value.into_owned())).take(MAX_QUERY_PARAMETERS + 1).collect();
        if query.len() > MAX_QUERY_PARAMETERS {
            return Err(ApiError::invalid_param(format!("The query has more than {MAX_QUERY_PARAMETERS} parameters.")));
        }
        Ok(Self { path, query })
    }

    /// A segment of the path, of at most [`MAX_ID_BYTES`].
    pub(super) fn path(&self, name: &str) -> Result<&str, ApiError> {
        let value = self.path.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value);
        if value.is_empty() || value.len() > MAX_ID_BYTES {
            return Err(ApiError::invalid_param(format!(
                "`{name}` in the path has to have 1 to {MAX_ID_BYTES} bytes."
            )));
        }
        Ok(value)
    }

    /// The room id in the path.
    pub(super) fn room(&self) -> Result<&str, ApiError> {
        self.id("roomId", '!', "a room id")
    }

    /// The event id in the path.
    pub(super) fn event(&self) -> Result<&str, ApiError> {
        self.id("eventId", '$', "an event id")
    }

    /// A user id in the path.
    pub(super) fn user(&self, name: &str) -> Result<&str, ApiError> {
        self.id(name, '@', "a user id")
    }

    fn id(&self, name: &str, sigil: char, what: &str) -> Result<&str, ApiError> {
        let id = self.path(name)?;
        if id.starts_with(sigil) {
            Ok(id)
        } else {
            Err(ApiError::invalid_param(format!("`{name}` in the path is not {what}: it does not begin with {sigil}.")))
        }
    }

    /// The first query parameter of this name.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The query parameter of this name.
    pub(super) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.query(name).ok_or_else(|| ApiError::missing_param(format!("The query parameter `{name}` is missing.")))
    }

    /// All query parameters of this name.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.query.iter().filter(|(found, _)| found == name).map(|(_, value)| value.clone()).collect()
    }

    /// A query parameter that is a number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| ApiError::invalid_param(format!("The query parameter `{name}` is not a number in range.")))
        };
        self.query(name).map(parse).transpose()
    }

    /// A query parameter that is `true` or `false`, which it is if not given.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.query(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => {
                Err(ApiError::invalid_param(format!("The query parameter `{name}` is neither `true` nor `false`.")))
            }
        }
    }
}

/// The `X-Matrix` headers.
fn authorizations(headers: &HeaderMap) -> Result<Vec<XMatrix>, ApiError> {
    let mut found = Vec::new();
    let mut problem: Cow<'static, str> = "The request has no `Authorization: X-Matrix` header.".into();
    for value in headers.get_all(header::AUTHORIZATION).iter().take(MAX_AUTHORIZATION_HEADERS) {
        // Header values may hold bytes beyond ASCII, which nothing in this header does.
        match value.to_str().map(XMatrix::parse) {
            Ok(Ok(parsed)) => found.push(parsed),
            Ok(Err(error)) => problem = format!("The `Authorization` header cannot be read: {error}.").into(),
            Err(_) => problem = "The `Authorization` header has characters that do not belong there.".into(),
        }
    }
    if found.is_empty() { Err(ApiError::unauthorized(problem)) } else { Ok(found) }
}

/// That the headers agree on one origin, which is a server other than this one, and are meant for this one. Gives the origin.
fn check_ends(headers: &[XMatrix], own_name: &str) -> Result<String, ApiError> {
    let mut origins = headers.iter().map(|header| &header.origin);
    let origin = origins.next().ok_or_else(|| ApiError::unauthorized("The request is not signed."))?;
    if origins.any(|other| other != origin) {
        return Err(ApiError::unauthorized("The `Authorization` headers name more than one origin."));
    }
    if !is_server_name(origin) {
        return Err(ApiError::unauthorized("The `origin` of the `Authorization` header is not a server name."));
    }
    if origin == own_name {
        return Err(ApiError::unauthorized("The `origin` of the `Authorization` header is this server itself."));
    }
    for destination in headers.iter().filter_map(|header| header.destination.as_deref()) {
        if destination != own_name {
            let destination: String = destination.chars().take(MAX_ID_BYTES).collect();
            return Err(ApiError::unauthorized(format!("The request is meant for {destination}; this is {own_name}.")));
        }
    }
    Ok(origin.clone())
}

async fn read_body(shared: &Shared, body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let read = Limited::new(body, limit).collect();
    match shared.inbound.world.timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(ApiError::too_large(format!("The body is larger than {limit} bytes.")))
        }
        Ok(Err(error)) => Err(ApiError::not_json(format!("The body broke off: {error}."))),
        Err(_) => {
            let status = StatusCode::REQUEST_TIMEOUT.as_u16();
            Err(ApiError::new(status, "M_UNKNOWN", format!("The body did not arrive within {BODY_TIMEOUT:?}.")))
        }
    }
}

/// The key of each header, where it is to be had; at least one is.
async fn keys(shared: &Shared, origin: &str, headers: &[XMatrix]) -> Result<Vec<Option<VerifyKey>>, ApiError> {
    let mut found = Vec::new();
    let mut problem = String::new();
    for header in headers {
        match shared.inbound.keys.for_request(origin, &header.key).await {
            Ok(key) => found.push(Some(key)),
            Err(error) => {
                tracing::debug!(origin, key = header.key, %error, "no key to check a request with");
                problem = error.for_others();
                found.push(None);
            }
        }
    }
    if found.iter().any(Option::is_some) {
        return Ok(found);
    }
    let error = ApiError::unauthorized(format!("The request is not signed by a key of {origin}: {problem}."));
    // Anyone can make up names: all of them together are one peer to complain about.
    shared.complaints.about("someone", "request by an unknown key", &error);
    Err(error)
}

/// That one of the headers is a signature of this request by its key.
fn verify(
    shared: &Shared,
    parts: &Parts,
    headers: &[XMatrix],
    keys: &[Option<VerifyKey>],
    body: &Bytes,
) -> Result<(), ApiError> {
    let request = RequestToSign {
        method: parts.method.as_str(),
        uri: parts.uri.path_and_query().map_or("/", |target| target.as_str()),
        origin: headers.first().map_or("", |header| &header.origin),
        destination: &shared.inbound.keys.own().server_name,
        content: if body.is_empty() { None } else { Some(body) },
    };
    let signed = request.to_bytes().map_err(|problem| SignatureProblem::from(problem).to_api_error())?;
    let mut result = Err(ApiError::unauthorized("The request is not signed."));
    for (header, key) in headers.iter().zip(keys) {
        let Some(key) = key else { continue };
        match crate::auth::verify(&signed, header, key) {
            Ok(()) => return Ok(()),
            Err(problem) => result = Err(problem.to_api_error()),
        }
    }
    result
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // Serde would read a struct from a list too.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(ApiError::bad_json("The body is not a JSON object."));
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => ApiError::bad_json(format!("The body is not of the right form: {error}.")),
        _ => ApiError::not_json(format!("The body is not JSON: {error}.")),
    })
}
