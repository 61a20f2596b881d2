//! The one error type of the services: what a client or peer is told, and what only the log is told.

use serde_json::{Map, Value};
use std::borrow::Cow;

/// Shorthand for results of services.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A standard error response (client-server API, "Standard error response").
#[derive(Debug, Clone, thiserror::Error)]
#[error("{status} {errcode}: {message}")]
pub struct Error {
    /// HTTP status.
    pub status: u16,
    /// `M_…` code.
    pub errcode: Cow<'static, str>,
    /// One sentence: what was wrong and where.
    pub message: String,
    /// Further members of the response, such as `retry_after_ms` or the whole user-interactive auth answer.
    pub extra: Option<Box<Map<String, Value>>>,
}

impl Error {
    /// An error with a status, a code and a sentence.
    pub fn new(status: u16, errcode: &'static str, message: impl Into<String>) -> Self {
        Self { status, errcode: Cow::Borrowed(errcode), message: message.into(), extra: None }
    }

    /// Adds a member to the response.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extra.get_or_insert_with(Default::default).insert(key.to_owned(), value.into());
        self
    }

    /// 403 `M_FORBIDDEN`.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "M_FORBIDDEN", message)
    }

    /// 404 `M_NOT_FOUND`.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "M_NOT_FOUND", message)
    }

    /// 404 `M_UNRECOGNIZED`.
    pub fn unrecognized(message: impl Into<String>) -> Self {
        Self::new(404, "M_UNRECOGNIZED", message)
    }

    /// 400 `M_BAD_JSON`.
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

    /// 400 `M_UNKNOWN`.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(400, "M_UNKNOWN", message)
    }

    /// 500 `M_UNKNOWN`; the cause goes to the log, not to the client.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(500, "M_UNKNOWN", "The server failed to carry this out; its log says why.")
    }
}

impl From<storage::StorageError> for Error {
    fn from(cause: storage::StorageError) -> Self {
        Self::internal(cause)
    }
}
