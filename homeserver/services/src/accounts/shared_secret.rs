//! `/_synapse/admin/v1/register`: registration by tools that know `registration.shared_secret`.

use super::{Accounts, NewSession, register::NewAccount, sessions::DeviceRequest, tokens};
use crate::{Error, Result, limits};
use hmac::{Hmac, KeyInit, Mac};
use lru::LruCache;
use net::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use sha1::Sha1;
use std::{net::IpAddr, time::Duration};

/// How long a nonce can be used.
const NONCE_LIFETIME: Duration = Duration::from_secs(60);
/// Nonces kept at once.
const MAX_NONCES: usize = 1_000;

/// Nonces handed out and not yet used. In memory: a tool asks for another after a restart.
pub(super) struct Nonces(Mutex<LruCache<String, Timestamp>>);

impl Default for Nonces {
    fn default() -> Self {
        Self(Mutex::new(LruCache::unbounded()))
    }
}

/// The body of the request.
#[derive(Debug, Clone, Deserialize)]
pub struct SharedSecretRequest {
    /// From the `GET` before.
    pub nonce: String,
    /// The localpart.
    pub username: String,
    /// A display name for the new account.
    pub displayname: Option<String>,
    /// The password.
    pub password: String,
    /// Whether the account administrates the server.
    #[serde(default)]
    pub admin: bool,
    /// A kind of account; it is part of what the MAC covers. Only ordinary accounts can be made.
    pub user_type: Option<String>,
    /// HMAC-SHA1, in hexadecimal, under the shared secret, of nonce, name, password and `admin` or `notadmin`, separated
    /// by NUL.
    pub mac: String,
}

impl Accounts {
    /// A nonce for one registration.
    ///
    /// # Errors
    ///
    /// 400 `M_UNKNOWN` if there is no shared secret; 429.
    pub fn shared_secret_nonce(&self, address: IpAddr) -> Result<String> {
        self.shared_secret()?;
        self.limits.take(&limits::GUESS_BY_ADDRESS, &limits::of_address(address))?;
        let nonce = tokens::new_session_id(&self.world);
        let mut nonces = self.nonces.0.lock();
        nonces.put(nonce.clone(), self.world.now());
        if nonces.len() > MAX_NONCES {
            nonces.pop_lru();
        }
        Ok(nonce)
    }

    /// Registers an account for a tool that knows the shared secret.
    ///
    /// # Errors
    ///
    /// 400 for an unknown nonce or a name that cannot be had, 403 `M_FORBIDDEN` for a wrong MAC.
    pub async fn register_with_shared_secret(&self, request: SharedSecretRequest) -> Result<NewSession> {
        let secret = self.shared_secret()?;
        let made = self.nonces.0.lock().pop(&request.nonce);
        if made.is_none_or(|made| self.world.now().since(made) > NONCE_LIFETIME) {
            return Err(Error::unknown("`nonce` is not known (any more); ask for another."));
        }
        let kind = if request.admin { "admin" } else { "notadmin" };
        let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).map_err(Error::internal)?;
        for (index, part) in [&request.nonce, &request.username, &request.password, kind].into_iter().enumerate() {
            if index > 0 {
                mac.update(&[0]);
            }
            mac.update(part.as_bytes());
        }
        if let Some(kind) = &request.user_type {
            mac.update(&[0]);
            mac.update(kind.as_bytes());
        }
        // `verify_slice` compares in constant time.
        let given = hex(&request.mac).unwrap_or_default();
        if mac.verify_slice(&given).is_err() {
            return Err(Error::forbidden("`mac` is not the HMAC-SHA1 of the other members under the shared secret."));
        }
        if request.user_type.is_some() {
            return Err(Error::unknown("`user_type` is not supported: only ordinary accounts can be made."));
        }
        let user_id = self.check_free(&request.username)?;
        let account = NewAccount {
            user_id: &user_id,
            password: Some(&request.password),
            administrator: request.admin,
            display_name: request.displayname.as_deref(),
        };
        let session = self.create(account, Some(&DeviceRequest::default())).await?;
        session.ok_or_else(|| Error::internal("a registration with a device gave no session"))
    }

    fn shared_secret(&self) -> Result<&str> {
        let secret = self.config.registration.shared_secret.as_deref().filter(|secret| !secret.is_empty());
        secret.ok_or_else(|| {
            Error::unknown("Registration by shared secret is off: `registration.shared_secret` is not set.")
        })
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
