//! Errors as one server tells another.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

/// A standard error response: an HTTP status, a code, a sentence, and possibly further members.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{status} {errcode}: {message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// The `M_…` code.
    pub errcode: Cow<'static, str>,
    /// One sentence: what was wrong and where.
    pub message: String,
    /// Further members of the answer, such as `room_version` or `retry_after_ms`.
    pub extra: Option<Box<Map<String, Value>>>,
}

impl ApiError {
    /// An error with a status, a code and a sentence.
    pub fn new(status: u16, errcode: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { status, errcode: errcode.into(), message: message.into(), extra: None }
    }

    /// Adds a member to the answer.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extra.get_or_insert_with(Default::default).insert(key.to_owned(), value.into());
        self
    }

    /// 401 `M_UNAUTHORIZED`: the request is not signed by whom it says it is from, or is meant for another server.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, "M_UNAUTHORIZED", message)
    }

    /// 403 `M_FORBIDDEN`.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "M_FORBIDDEN", message)
    }

    /// 404 `M_NOT_FOUND`.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "M_NOT_FOUND", message)
    }

    /// 404 `M_UNRECOGNIZED`: no such endpoint.
    pub fn unrecognized() -> Self {
        Self::new(404, "M_UNRECOGNIZED", "This server has no such endpoint.")
    }

    /// 405 `M_UNRECOGNIZED`: the endpoint does not take this method.
    pub fn wrong_method() -> Self {
        Self::new(405, "M_UNRECOGNIZED", "This endpoint does not take this method.")
    }

    /// 400 `M_NOT_JSON`: the body is not JSON.
    pub fn not_json(message: impl Into<String>) -> Self {
        Self::new(400, "M_NOT_JSON", message)
    }

    /// 400 `M_BAD_JSON`: JSON, but not of the form asked for.
    pub fn bad_json(message: impl Into<String>) -> Self {
        Self::new(400, "M_BAD_JSON", message)
    }

    /// 400 `M_INVALID_PARAM`.
    pub fn invalid_param(message: impl Into<String>) -> Self {
        Self::new(400, "M_INVALID_PARAM", message)
    }

    /// 400 `M_MISSING_PARAM`.
    pub fn missing_param(message: impl Into<String>) -> Self {
        Self::new(400, "M_MISSING_PARAM", message)
    }

    /// 400 `M_INCOMPATIBLE_ROOM_VERSION`, which names the room's version.
    pub fn incompatible_room_version(version: &str) -> Self {
        Self::new(400, "M_INCOMPATIBLE_ROOM_VERSION", "Your server does not support the version of this room.")
            .with("room_version", version)
    }

    /// 413 `M_TOO_LARGE`.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "M_TOO_LARGE", message)
    }

    /// 429 `M_LIMIT_EXCEEDED`.
    pub fn limit_exceeded(message: impl Into<String>, retry_after_ms: u64) -> Self {
        Self::new(429, "M_LIMIT_EXCEEDED", message).with("retry_after_ms", retry_after_ms)
    }

    /// 500 `M_UNKNOWN`; the cause goes to the log, not to the peer.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "cannot answer a peer");
        Self::new(500, "M_UNKNOWN", "The server failed to carry this out; its log says why.")
    }

    /// The body of the answer.
    pub fn to_json(&self) -> Value {
        let mut body = self.extra.as_deref().cloned().unwrap_or_default();
        body.insert("errcode".to_owned(), Value::from(self.errcode.as_ref()));
        body.insert("error".to_owned(), Value::from(self.message.as_str()));
        Value::Object(body)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        (status, [json], self.to_json().to_string()).into_response()
    }
}
