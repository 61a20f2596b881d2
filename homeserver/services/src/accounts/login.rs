//! Client-server API, "Login": `m.login.password`.

use super::{
    AccountRecord, Accounts, MAX_COMMIT_ATTEMPTS, NewSession, Versioned, commit, names, sessions::DeviceRequest,
};
use crate::{Error, Result, limits, tables};
use serde::Deserialize;
use serde_json::{Map, Value};
use state_res::ids::UserKey;
use std::net::IpAddr;
use storage::Batch;

/// `POST /login`.
#[derive(Debug, Clone, Deserialize)]
pub struct LoginRequest {
    /// The login type; only `m.login.password` is offered.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whose account.
    pub identifier: Option<UserIdentifier>,
    /// The same, as clients from before identifiers say it.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// A device id of the client's choice.
    pub device_id: Option<String>,
    /// The name of a new device.
    pub initial_device_display_name: Option<String>,
    /// Whether the client can refresh its access token.
    #[serde(default)]
    pub refresh_token: bool,
}

/// Client-server API, "Identifier types".
#[derive(Debug, Clone, Deserialize)]
pub struct UserIdentifier {
    /// `m.id.user` is the one we know.
    #[serde(rename = "type")]
    pub kind: String,
    /// `m.id.user`: a user id or localpart.
    pub user: Option<String>,
    /// Whatever other kinds carry.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl UserIdentifier {
    /// The user id or localpart that it names.
    ///
    /// # Errors
    ///
    /// 400 if a member is missing or the kind is unknown; 403 for third-party identifiers, of which we know none.
    pub fn user(&self) -> Result<&str> {
        match (self.kind.as_str(), &self.user) {
            ("m.id.user", Some(user)) => Ok(user),
            ("m.id.user", None) => Err(Error::missing_param("`identifier.user` is missing.")),
            ("m.id.thirdparty" | "m.id.phone", _) => {
                Err(Error::forbidden("No account here has that third-party identifier."))
            }
            _ => Err(Error::unknown("`identifier.type` must be m.id.user.")),
        }
    }
}

/// What a password proved.
#[derive(Debug)]
pub(super) enum PasswordOwner {
    /// It is this account's.
    Proved(Versioned<AccountRecord>),
    /// It is not, or there is no such account, or one that was deactivated and has no password any more.
    Wrong,
}

impl Accounts {
    /// Signs a user in with a password.
    ///
    /// # Errors
    ///
    /// 403 `M_FORBIDDEN`, for deactivated accounts too: their passwords are gone, so that to say more would tell anyone which accounts there
    /// were. 400 for a request that is not as required, 429.
    pub async fn login(&self, request: LoginRequest, address: IpAddr) -> Result<NewSession> {
        if request.kind != "m.login.password" {
            return Err(Error::unknown("`type` must be one that GET /login offers: m.login.password."));
        }
        let user_id = match (&request.identifier, &request.user) {
            (Some(identifier), _) => self.meant(identifier.user()?)?,
            (None, Some(user)) => self.meant(user)?,
            (None, None) => return Err(Error::missing_param("`identifier` is missing.")),
        };
        let Some(password) = request.password.as_deref() else {
            return Err(Error::missing_param("`password` is missing."));
        };
        let device = DeviceRequest {
            device_id: request.device_id,
            display_name: request.initial_device_display_name,
            refresh_token: request.refresh_token,
        };
        device.check()?;
        self.limits.take(&limits::LOGIN_BY_ADDRESS, &limits::of_address(address))?;
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let account = match self.check_password(&user_id, password).await? {
                PasswordOwner::Proved(account) => account,
                PasswordOwner::Wrong => return Err(Error::forbidden("User name or password is wrong.")),
            };
            if let Some(session) = self.open_session(&account, &device).await? {
                return Ok(session);
            }
        }
        Err(Error::contended())
    }

    /// The user id that someone means who calls themselves `user`, a user id or localpart: the account of exactly that name, or else of the
    /// same name in small letters. So there is one id to count wrong passwords for, however a name is spelt.
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub(super) fn meant(&self, user: &str) -> Result<String> {
        let exact = names::meant_user_id(user, &self.config.server_name);
        if AccountRecord::read(&self.store.snapshot(), UserKey::of(&exact))?.is_some() {
            return Ok(exact);
        }
        Ok(names::in_small_letters(&exact, &self.config.server_name))
    }

    /// Checks a password, limited by account. Names that have no account take as long as those that have.
    pub(super) async fn check_password(&self, user_id: &str, password: &str) -> Result<PasswordOwner> {
        // Taken before and given back after a right password, so that guesses made at once are counted too.
        self.limits.take(&limits::PASSWORD_BY_ACCOUNT, user_id)?;
        let account = AccountRecord::read(&self.store.snapshot(), UserKey::of(user_id))?;
        let hash = account.as_ref().and_then(|account| account.value.password.clone());
        let right = self.passwords.check(password, hash).await?;
        match account {
            Some(account) if right && !account.value.deactivated => {
                self.limits.give_back(&limits::PASSWORD_BY_ACCOUNT, user_id);
                Ok(PasswordOwner::Proved(account))
            }
            _ => Ok(PasswordOwner::Wrong),
        }
    }

    /// Makes a session of an account that was read before; `None` if account or device have changed since.
    pub(super) async fn open_session(
        &self,
        account: &Versioned<AccountRecord>,
        device: &DeviceRequest,
    ) -> Result<Option<NewSession>> {
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let user_id = &account.value.user_id;
            let user = UserKey::of(user_id);
            // Has the account changed (its password, say), the proof has to be made again.
            let current = AccountRecord::read(&snapshot, user)?;
            if current.is_none_or(|current| current.version != account.version) {
                return Ok(None);
            }
            let mut batch = Batch::with_random_id(&self.world);
            batch.require_version(tables::ACCOUNTS, user.as_bytes(), account.version);
            let (session, ended) = self.add_session(&mut batch, &snapshot, user_id, device)?;
            if commit(&self.store, batch).await?.is_some() {
                self.sessions.forget(&ended);
                return Ok(Some(session));
            }
        }
        Err(Error::contended())
    }
}
