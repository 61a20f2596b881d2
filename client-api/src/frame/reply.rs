//! Successful responses.

use super::ApiError;
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use services::Error;

/// Headers of most answers.
const HEADERS: usize = 8;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 200 with `T` as JSON.
#[derive(Debug)]
pub struct Reply<T>(pub T);

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => json_response(StatusCode::OK, body.into()),
            Err(cause) => ApiError(Error::internal(cause)).into_response(),
        }
    }
}

/// 200 with JSON bytes that a service has written.
#[derive(Debug)]
pub struct RawReply(pub Bytes);

impl IntoResponse for RawReply {
    fn into_response(self) -> Response {
        json_response(StatusCode::OK, self.0)
    }
}

/// 200 with `{}`.
#[derive(Debug)]
pub struct EmptyReply;

impl IntoResponse for EmptyReply {
    fn into_response(self) -> Response {
        json_response(StatusCode::OK, Bytes::from_static(b"{}"))
    }
}

/// A response with a JSON body and its `Content-Type`.
pub(crate) fn json_response(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    // For those that are added on the way out, too.
    response.headers_mut().reserve(HEADERS);
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}
