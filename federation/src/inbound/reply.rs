//! Answers, some of which carry events as they are.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use net::Timestamp;
use serde::Serialize;

use crate::{RawJson, raw_json::ObjectWriter};

/// An answer of JSON text.
pub(super) fn text(body: impl Into<Bytes>) -> Response {
    let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ([json], body.into()).into_response()
}

/// An answer of some value.
pub(super) fn value(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => text(body),
        Err(error) => crate::ApiError::internal(error).into_response(),
    }
}

/// `{}`.
pub(super) fn empty() -> Response {
    text(Bytes::from_static(b"{}"))
}

/// Events in the form of a transaction.
pub(super) fn transaction<'a>(origin: &str, now: Timestamp, pdus: impl IntoIterator<Item = &'a RawJson>) -> Response {
    let body = ObjectWriter::new().value("origin", origin).value("origin_server_ts", &now.millis()).list("pdus", pdus);
    text(body.finish())
}

/// `[200, …]`, as version 1 of some endpoints wraps its answers.
pub(super) fn wrapped(body: &[u8]) -> Response {
    text([b"[200,", body, b"]"].concat())
}
