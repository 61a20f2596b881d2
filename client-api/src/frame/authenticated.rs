//! Client-server API, "Using access tokens".

use super::{ApiError, App, ClientAddress, Result};
use axum::extract::FromRequestParts;
use http::{header, request::Parts};
use services::{Error, accounts::Session};
use std::{borrow::Cow, sync::Arc};

/// The session that the request's access token belongs to. Without a token 401 `M_MISSING_TOKEN`, with one that is not
/// (or no longer) valid 401 `M_UNKNOWN_TOKEN`.
#[derive(Debug, Clone)]
pub struct Authenticated(pub Arc<Session>);

impl FromRequestParts<App> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        match session(parts, app).await? {
            Some(session) => Ok(Self(session)),
            None => Err(Error::missing_token("This endpoint needs an access token.").into()),
        }
    }
}

/// The same where a token may be absent. A wrong one is still refused.
#[derive(Debug, Clone)]
pub struct MaybeAuthenticated(pub Option<Arc<Session>>);

impl FromRequestParts<App> for MaybeAuthenticated {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        Ok(Self(session(parts, app).await?))
    }
}

async fn session(parts: &Parts, app: &App) -> Result<Option<Arc<Session>>> {
    let Some(token) = token(parts) else { return Ok(None) };
    let ClientAddress(address) = ClientAddress::of(parts);
    Ok(Some(app.accounts.authenticate(&token, address).await?))
}

/// The access token: `Authorization: Bearer …`, or the query parameter that older clients use.
fn token(parts: &Parts) -> Option<Cow<'_, str>> {
    if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        let value = value.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| Cow::Borrowed(token.trim()));
    }
    let query = parts.uri.query()?;
    let value = query.split('&').find_map(|pair| pair.strip_prefix("access_token="))?;
    percent_encoding::percent_decode_str(value).decode_utf8().ok()
}
