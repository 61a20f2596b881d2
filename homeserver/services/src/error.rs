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
    /// `M_…` code. Empty where the answer is no error but a question, as in user-interactive auth (see
    /// [`Error::bare`]).
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

    /// An answer other than 200 that is no error: its body is `members` alone, without `errcode` and `error`.
    #[must_use]
    pub fn bare(status: u16, members: Map<String, Value>) -> Self {
        Self { status, errcode: Cow::Borrowed(""), message: String::new(), extra: Some(Box::new(members)) }
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

    /// 413 `M_TOO_LARGE`.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "M_TOO_LARGE", message)
    }

    /// 401 `M_UNKNOWN_TOKEN`; with `soft_logout` the client may keep its device and sign in again.
    pub fn unknown_token(message: impl Into<String>, soft_logout: bool) -> Self {
        Self::new(401, "M_UNKNOWN_TOKEN", message).with("soft_logout", soft_logout)
    }

    /// 401 `M_MISSING_TOKEN`.
    pub fn missing_token(message: impl Into<String>) -> Self {
        Self::new(401, "M_MISSING_TOKEN", message)
    }

    /// 429 `M_LIMIT_EXCEEDED`; the client may come back after so many milliseconds.
    pub fn limit_exceeded(message: impl Into<String>, retry_after_ms: u64) -> Self {
        Self::new(429, "M_LIMIT_EXCEEDED", message).with("retry_after_ms", retry_after_ms)
    }

    /// 500 `M_UNKNOWN`; the cause goes to the log, not to the client.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(500, "M_UNKNOWN", "The server failed to carry this out; its log says why.")
    }

    /// 503 `M_UNKNOWN`: others were writing the same thing at the same time, over and over.
    #[must_use]
    pub fn contended() -> Self {
        Self::new(503, "M_UNKNOWN", "Too many requests are changing the same thing at this moment; try again.")
    }
}

impl From<state_res::tree::TreeError<Error>> for Error {
    fn from(cause: state_res::tree::TreeError<Error>) -> Self {
        match cause {
            state_res::tree::TreeError::Fetch(error) => error,
            other => Self::internal(other),
        }
    }
}

impl From<state_res::resolve::ResolveError<Error>> for Error {
    fn from(cause: state_res::resolve::ResolveError<Error>) -> Self {
        match cause {
            state_res::resolve::ResolveError::Fetch(error) => error,
            state_res::resolve::ResolveError::Tree(error) => error.into(),
            other => Self::internal(other),
        }
    }
}

impl From<storage::StorageError> for Error {
    fn from(cause: storage::StorageError) -> Self {
        Self::internal(cause)
    }
}
