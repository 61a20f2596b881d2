//! Request bodies.

use super::lenient::Lenient;
use super::{ApiError, Result};
use axum::{
    body::Body,
    extract::{FromRequest, Request},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::error::Category;
use services::Error;
use std::borrow::Cow;

/// Largest request body, in bytes, where the endpoint sets no other bound.
pub const MAX_BODY: usize = 1024 * 1024;

/// How deep arrays and objects of a request may nest, the outermost object counted.
pub const MAX_NESTING: usize = 64;

/// A JSON object, read whatever the `Content-Type`; an absent or empty body counts as `{}`, a member of a struct that is
/// `null` as absent, the integer `-0` as `0` (appendices, "Canonical JSON").
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

/// A JSON object as the client sent it, without surrounding white space: valid UTF-8, valid JSON whose strings and numbers can all be read,
/// within the bounds.
#[derive(Debug, Clone)]
pub struct RawJson<const MAX: usize = MAX_BODY>(pub Bytes);

impl<S: Send + Sync, const MAX: usize> FromRequest<S> for RawJson<MAX> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let body = read(request.into_body(), MAX).await?;
        let text = object_text(&body)?;
        if let Err(cause) = services::json_text::check(text) {
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
    let text = without_negative_zeros(object_text(body)?);
    let cause = match serde_json::from_str(&text) {
        Ok(value) => return Ok(value),
        Err(cause) => cause,
    };
    if cause.classify() != Category::Data {
        return Err(not_json(&cause));
    }
    // Read again, to find the member that is wrong, or none but for what is null: that is rare, and so are errors.
    // A wrong member before the place where the text breaks off is not what is wrong with it.
    if let Err(cause) = serde_json::from_str::<IgnoredAny>(&text) {
        return Err(not_json(&cause));
    }
    let read = if text.contains("null") {
        let value: Value = serde_json::from_str(&text).map_err(|cause| not_json(&cause))?;
        serde_path_to_error::deserialize(Lenient(value))
    } else {
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(&text))
    };
    read.map_err(|located| match located.path().iter().next() {
        None => Error::bad_json(format!("The request body is not as required: {}.", located.inner())),
        Some(_) => Error::bad_json(format!(
            "The request body is not as required at `{}`: {}.",
            located.path(),
            located.inner()
        )),
    })
}

/// The same JSON with the integer `-0` written as what it is, `0`. Left to itself, serde_json reads a float from it.
fn without_negative_zeros(text: &str) -> Cow<'_, str> {
    const NEGATIVE_ZERO: &str = "-0";
    if !text.contains(NEGATIVE_ZERO) {
        return Cow::Borrowed(text);
    }
    let mut bytes = text.as_bytes().to_vec();
    let (mut in_string, mut escaped) = (false, false);
    for at in 0..bytes.len() {
        match bytes[at] {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'-' if !in_string && bytes.get(at + 1) == Some(&b'0') => {
                let ends = bytes.get(at + 2).is_none_or(|next| !matches!(next, b'0'..=b'9' | b'.' | b'e' | b'E'));
                // After a digit or exponent the minus is not a number's first character.
                let begins = at == 0 || matches!(bytes[at - 1], b':' | b',' | b'[' | b' ' | b'\t' | b'\n' | b'\r');
                if begins && ends {
                    bytes[at] = b' ';
                }
            }
            _ => {}
        }
    }
    // One ASCII character was put for another.
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
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

fn not_json(cause: &serde_json::Error) -> Error {
    Error::new(400, "M_NOT_JSON", format!("The request body is not JSON: {cause}."))
}
