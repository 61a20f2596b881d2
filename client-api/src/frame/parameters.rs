//! Path and query parameters.

use super::{ApiError, Result};
use axum::extract::{FromRequestParts, rejection::PathRejection};
use http::request::Parts;
use serde::de::DeserializeOwned;
use services::Error;

/// Percent-decoded path parameters.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(cause)) => {
                Err(Error::invalid_param(format!("The path is not as required: {}.", cause.body_text())).into())
            }
            Err(cause) => Err(Error::internal(cause).into()),
        }
    }
}

/// Query parameters. A `Vec` field takes every occurrence of its key.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let query = parts.uri.query().unwrap_or_default();
        match serde_html_form::from_str(query) {
            Ok(value) => Ok(Self(value)),
            Err(cause) => Err(describe(&cause).into()),
        }
    }
}

fn describe(cause: &serde_html_form::de::Error) -> Error {
    let text = cause.to_string();
    // serde's own words for an absent field; there is no structured form of them.
    if text.starts_with("missing field") {
        return Error::missing_param(format!("A query parameter is missing: {text}."));
    }
    Error::invalid_param(format!("A query parameter is not as required: {text}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::Error as _;

    /// `describe` leans on serde's wording.
    #[test]
    fn a_missing_field_is_told_as_serde_tells_it() {
        let error = describe(&serde_html_form::de::Error::missing_field("dir"));
        assert_eq!(error.errcode, "M_MISSING_PARAM");
        assert!(error.message.contains("`dir`"));
    }
}
