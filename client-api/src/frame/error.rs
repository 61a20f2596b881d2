//! The one place where an error becomes a response.

use super::reply::json_response;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use services::Error;

/// Shorthand for results of handlers.
pub type Result<T, E = ApiError> = std::result::Result<T, E>;

/// A service's error on its way to the client.
#[derive(Debug)]
pub struct ApiError(pub Error);

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Error { status, errcode, message, extra } = self.0;
        let mut members = Map::new();
        // A user-interactive auth answer that is no error has no code (see `Error::bare`).
        if !errcode.is_empty() {
            members.insert("errcode".to_owned(), Value::String(errcode.into_owned()));
            members.insert("error".to_owned(), Value::String(message));
        }
        if let Some(extra) = extra {
            members.extend(*extra);
        }
        let retry_after = members.get("retry_after_ms").and_then(Value::as_u64);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&members).expect("a map of strings to JSON values always serialises");
        let mut response = json_response(status, body.into());
        if let Some(milliseconds) = retry_after {
            let seconds = milliseconds.div_ceil(1000).max(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
