//! OpenID tokens (client-server API, "OpenID"): a user shows one to a third party, which asks this server whose it is.
//!
//! A token is what it says (who, and until when) with this server's signature, so that none has to be stored, and a restart ends
//! none. It opens nothing else: access tokens are looked up, not verified.

use crate::accounts::Session;
use crate::error::Result;
use crate::rooms::RoomDeps;
use crate::{Services, limits};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use std::time::Duration;
use storage::key;

/// How long a token is good for.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Begins what is signed. Everything else that is signed with the same key is a JSON object and begins with a brace.
const PURPOSE: &[u8] = b"openid token of a homeserver\0";
/// Separates what a token says from its signature; in no text of base64.
const SEPARATOR: char = '.';
/// Longest text taken for a token: a user id, a date and a signature, encoded.
const MAX_TOKEN: usize = 1024;

/// What `POST /user/{userId}/openid/request_token` gives.
#[derive(Debug, Clone, Serialize)]
pub struct OpenIdToken {
    /// The token.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Who is to be asked about it.
    pub matrix_server_name: String,
    /// For how many seconds it is good.
    pub expires_in: u64,
}

impl Services {
    /// A token for a user to show to others.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` for another user than that of the session, 429.
    pub fn openid_token(&self, session: &Session, user_id: &str) -> Result<OpenIdToken> {
        session.must_be(user_id)?;
        self.accounts.limits.take(&limits::OPENID_BY_USER, user_id)?;
        Ok(OpenIdToken {
            access_token: issue(self.rooms.deps(), user_id),
            token_type: "Bearer",
            matrix_server_name: self.config.server_name.clone(),
            expires_in: LIFETIME.as_secs(),
        })
    }
}

fn issue(deps: &RoomDeps, user_id: &str) -> String {
    let until = deps.world.now().millis().saturating_add(u64::try_from(LIFETIME.as_millis()).unwrap_or(u64::MAX));
    let says = key::Writer::new().u64(until).str(user_id).finish();
    let signature = deps.signing_key().sign(&signed(&says));
    format!("{}{SEPARATOR}{}", URL_SAFE_NO_PAD.encode(&says), to_url_safe(&signature))
}

/// Whose token it is; `None` for one that this server did not make, or that has expired.
pub(crate) fn redeem(deps: &RoomDeps, token: &str) -> Option<String> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let (says, signature) = token.split_once(SEPARATOR)?;
    let says = URL_SAFE_NO_PAD.decode(says).ok()?;
    let verifies = deps.signing_key().verify_key().verifies(&signed(&says), &from_url_safe(signature));
    let mut says = key::Reader::new(&says);
    let (until, user_id) = (says.u64().ok()?, says.str().ok()?);
    (verifies && deps.world.now().millis() < until).then_some(user_id)
}

fn signed(says: &[u8]) -> Vec<u8> {
    [PURPOSE, says].concat()
}

fn to_url_safe(base64: &str) -> String {
    base64.replace('+', "-").replace('/', "_")
}

fn from_url_safe(base64: &str) -> String {
    base64.replace('-', "+").replace('_', "/")
}
