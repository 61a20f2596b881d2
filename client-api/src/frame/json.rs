//! Request bodies.

use super::{ApiError, Result};
use axum::{
    body::Body,
    extract::{FromRequest, Request},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use services::Error;

/// Largest request body, in bytes, where the endpoint sets no other bound.
pub const MAX_BODY: usize = 1024 * 1024;

/// How deep arrays and objects of a request may nest, the outermost object counted.
pub const MAX_NESTING: usize = 64;

/// A JSON object, read whatever the `Content-Type`; an absent or empty body counts as `{}`.
///
/// Refused with `M_NOT_JSON` (not UTF-8, not JSON), `M_BAD_JSON` (JSON, but not what the endpoint takes; the sentence
/// names the member) or 413 `M_TOO_LARGE`.
#[derive(Debug)]
pub struct Json<T, const MAX: usize = MAX_BODY>(pub T);

impl<T: DeserializeOwned, S: Send + Sync, const MAX: usize> FromRequest<S> for Json<T, MAX> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let body = read(request.into_body(), MAX).await?;
        Ok(Self(parse(&body)?))
    }
}

/// A JSON object as the client sent it, without surrounding white space: valid UTF-8, valid JSON, within the bounds.
#[derive(Debug, Clone)]
pub struct RawJson<const MAX: usize = MAX_BODY>(pub Bytes);

impl<S: Send + Sync, const MAX: usize> FromRequest<S> for RawJson<MAX> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let body = read(request.into_body(), MAX).await?;
        let text = object_text(&body)?;
        if let Err(cause) = serde_json::from_str::<IgnoredAny>(text) {
            return Err(not_json(&cause).into());
        }
        Ok(Self(if text == EMPTY { Bytes::from_static(EMPTY.as_bytes()) } else { body.slice_ref(text.as_bytes()) }))
    }
}

/// What an absent or empty body counts as.
const EMPTY: &str = "{}";

async fn read(body: Body, limit: usize) -> Result<Bytes, Error> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(cause) if cause.is::<LengthLimitError>() => {
            Err(Error::too_large(format!("The request body is larger than {limit} bytes.")))
        }
        Err(cause) => Err(Error::new(400, "M_NOT_JSON", format!("The request body broke off: {cause}."))),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let text = object_text(body)?;
    serde_json::from_str(text).map_err(|cause| describe::<T>(text, &cause))
}

/// The body as text that begins an object, or `{}` if there is none.
fn object_text(body: &[u8]) -> Result<&str, Error> {
    let text = std::str::from_utf8(body).map_err(|cause| {
        let at = cause.valid_up_to();
        Error::new(400, "M_NOT_JSON", format!("The request body is not valid UTF-8 from byte {at} on."))
    })?;
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    if text.is_empty() {
        return Ok(EMPTY);
    }
    if nests_too_deep(text.as_bytes()) {
        return Err(Error::bad_json(format!("The request body nests deeper than {MAX_NESTING} levels.")));
    }
    if text.starts_with('{') {
        return Ok(text);
    }
    // Structs would also be read from arrays, so that has to be refused here.
    Err(match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Error::bad_json("The request body must be a JSON object."),
        Err(cause) => not_json(&cause),
    })
}

/// Whether brackets outside strings nest deeper than allowed. Text that is not JSON may get either answer.
fn nests_too_deep(text: &[u8]) -> bool {
    if text.len() <= 2 * MAX_NESTING {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_NESTING {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Why `text` was refused, with the member that was wrong. Reads it again: errors are rare, requests are not.
fn describe<T: DeserializeOwned>(text: &str, cause: &serde_json::Error) -> Error {
    if cause.classify() != Category::Data {
        return not_json(cause);
    }
    // A wrong member before the place where the text breaks off is not what is wrong with it.
    if let Err(cause) = serde_json::from_str::<IgnoredAny>(text) {
        return not_json(&cause);
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(located) if located.path().iter().next().is_some() => Error::bad_json(format!(
            "The request body is not as required at `{}`: {}.",
            located.path(),
            located.inner()
        )),
        _ => Error::bad_json(format!("The request body is not as required: {cause}.")),
    }
}

fn not_json(cause: &serde_json::Error) -> Error {
    Error::new(400, "M_NOT_JSON", format!("The request body is not JSON: {cause}."))
}
