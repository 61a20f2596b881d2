//! Client-server API, "Account registration".

use super::{
    AccountRecord, Accounts, AuthData, Challenge, NewSession, commit, names, password, profile,
    sessions::DeviceRequest, tokens, uia,
};
use crate::{Error, Result, config::RegistrationMode, limits, tables};
use serde::Deserialize;
use state_res::ids::UserKey;
use std::net::IpAddr;
use storage::Batch;

/// `POST /register`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RegisterRequest {
    /// User-interactive auth.
    pub auth: Option<AuthData>,
    /// The localpart that is wanted; generated if absent.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// A device id of the client's choice.
    pub device_id: Option<String>,
    /// The name of the device.
    pub initial_device_display_name: Option<String>,
    /// Make the account without signing in.
    #[serde(default)]
    pub inhibit_login: bool,
    /// Whether the client can refresh its access token.
    #[serde(default)]
    pub refresh_token: bool,
}

/// An account about to be made.
pub(super) struct NewAccount<'a> {
    pub(super) user_id: &'a str,
    /// As given, not hashed. None: no password opens the account.
    pub(super) password: Option<&'a str>,
    pub(super) administrator: bool,
    pub(super) display_name: Option<&'a str>,
}

/// What a registration gives: the user id and, unless it was inhibited, a session.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The new account.
    pub user_id: String,
    /// Its first session.
    pub session: Option<NewSession>,
}

impl Accounts {
    /// Registers an account through user-interactive auth.
    ///
    /// # Errors
    ///
    /// 401 until auth is complete; 400 `M_USER_IN_USE`, `M_INVALID_USERNAME`, …; 403 `M_FORBIDDEN` where registration is
    /// closed; 429.
    pub async fn register(&self, request: RegisterRequest, address: IpAddr) -> Result<Registered> {
        let flows: &[&[&str]] = match self.config.registration.mode {
            RegistrationMode::Open => &[&[uia::DUMMY]],
            RegistrationMode::Token => &[&[uia::REGISTRATION_TOKEN]],
            RegistrationMode::Closed => {
                return Err(Error::forbidden(
                    "Registration is closed on this server; its administrator makes accounts.",
                ));
            }
        };
        // The specification wants names checked before auth.
        let user_id = match &request.username {
            Some(username) => self.check_free(username)?,
            None => names::new_user_id(&tokens::new_localpart(&self.world), &self.config.server_name)?,
        };
        let device = DeviceRequest {
            device_id: request.device_id,
            display_name: request.initial_device_display_name,
            refresh_token: request.refresh_token,
        };
        device.check()?;
        if let Some(password) = &request.password {
            password::check_new(password)?;
        } else if request.auth.is_some() {
            return Err(Error::missing_param("`password` is missing."));
        }
        let challenge = Challenge { operation: "register", subject: "", user_id: None, flows };
        self.interactive_auth(challenge, request.auth.as_ref(), address).await?;
        self.limits.take(&self.limits.configured.registrations, &limits::of_address(address))?;
        let account = NewAccount {
            user_id: &user_id,
            password: request.password.as_deref(),
            administrator: false,
            display_name: None,
        };
        let session = self.create(account, (!request.inhibit_login).then_some(&device)).await?;
        Ok(Registered { user_id, session })
    }

    /// Whether a name could be registered: its user id.
    ///
    /// # Errors
    ///
    /// 400 `M_INVALID_USERNAME` or `M_USER_IN_USE`.
    pub fn check_free(&self, username: &str) -> Result<String> {
        let user_id = names::new_user_id(username, &self.config.server_name)?;
        if AccountRecord::read(&self.store.snapshot(), UserKey::of(&user_id))?.is_some() {
            return Err(in_use());
        }
        Ok(user_id)
    }

    /// `GET /register/available`.
    ///
    /// # Errors
    ///
    /// As [`Accounts::check_free`]; 403 where registration is closed; 429.
    pub fn is_available(&self, username: &str, address: IpAddr) -> Result<()> {
        if self.config.registration.mode == RegistrationMode::Closed {
            return Err(Error::forbidden("Registration is closed on this server."));
        }
        self.limits.take(&limits::GUESS_BY_ADDRESS, &limits::of_address(address))?;
        self.check_free(username).map(drop)
    }

    /// `GET /register/m.login.registration_token/validity`.
    ///
    /// # Errors
    ///
    /// 403 where registration is closed; 429.
    pub fn is_token_valid(&self, token: &str, address: IpAddr) -> Result<bool> {
        match self.config.registration.mode {
            RegistrationMode::Closed => Err(Error::forbidden("Registration is closed on this server.")),
            RegistrationMode::Open => Ok(false),
            RegistrationMode::Token => {
                self.limits.take(&limits::GUESS_BY_ADDRESS, &limits::of_address(address))?;
                Ok(self.is_registration_token(token))
            }
        }
    }

    /// Makes an account, and a session of it if a device is given. Of several that want one name, exactly one gets it.
    pub(super) async fn create(
        &self,
        account: NewAccount<'_>,
        device: Option<&DeviceRequest>,
    ) -> Result<Option<NewSession>> {
        let password = match account.password {
            Some(password) => Some(self.passwords.hash(password).await?),
            None => None,
        };
        let user = UserKey::of(account.user_id);
        let record = AccountRecord {
            user_id: account.user_id.to_owned(),
            password,
            created_at: self.world.now().millis(),
            deactivated: false,
            administrator: account.administrator,
        };
        let mut batch = Batch::with_random_id(&self.world);
        batch.require_absent(tables::ACCOUNTS, user.as_bytes());
        batch.put(tables::ACCOUNTS, user.as_bytes(), &record.to_bytes());
        profile::add_new(&mut batch, account.user_id, account.display_name);
        let session = match device {
            Some(device) => {
                let (session, _) = self.add_session(&mut batch, &self.store.snapshot(), account.user_id, device)?;
                Some(session)
            }
            None => None,
        };
        // The only precondition that can fail is the account's: no device exists before its account.
        match commit(&self.store, batch).await? {
            Some(_) => Ok(session),
            None => Err(in_use()),
        }
    }
}

fn in_use() -> Error {
    Error::new(400, "M_USER_IN_USE", "This user name is taken.")
}
