//! What the operator does with accounts, through the command line.

use super::{AccountRecord, Accounts, MAX_COMMIT_ATTEMPTS, Session, commit, record::from_bytes, register::NewAccount};
use crate::devices::Device;
use crate::{Error, Result, tables};
use serde::{Deserialize, Serialize};
use state_res::ids::UserKey;
use storage::Batch;

/// An account as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSummary {
    /// Its user id.
    pub user_id: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at: u64,
    /// Whether it has been deactivated.
    pub deactivated: bool,
    /// Whether it administrates the server.
    pub administrator: bool,
}

impl Accounts {
    /// Makes an account; gives its user id. `name` is a localpart.
    ///
    /// # Errors
    ///
    /// 400 `M_INVALID_USERNAME`, `M_USER_IN_USE`, `M_WEAK_PASSWORD` or `M_INVALID_PARAM`.
    pub async fn create_user(&self, name: &str, password: &str, administrator: bool) -> Result<String> {
        let user_id = self.check_free(name)?;
        let account = NewAccount { user_id: &user_id, password: Some(password), administrator, display_name: None };
        self.create(account, None).await?;
        Ok(user_id)
    }

    /// Every account of the server, by user id.
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub async fn list_users(&self) -> Result<Vec<AccountSummary>> {
        let mut users = self
            .store
            .read(|snapshot| {
                let rows = snapshot.scan_prefix(tables::ACCOUNTS, &[]);
                rows.map(|row| {
                    let record: AccountRecord = from_bytes(tables::ACCOUNTS, &row?.1)?;
                    Ok(AccountSummary {
                        user_id: record.user_id,
                        created_at: record.created_at,
                        deactivated: record.deactivated,
                        administrator: record.administrator,
                    })
                })
                .collect::<Result<Vec<_>>>()
            })
            .await?;
        users.sort_by(|a, b| a.user_id.cmp(&b.user_id));
        Ok(users)
    }

    /// Whether there is such an account, and it is not deactivated. `user_id` may be of any server.
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub fn is_active(&self, user_id: &str) -> Result<bool> {
        let account = AccountRecord::read(&self.store.snapshot(), UserKey::of(user_id))?;
        Ok(account.is_some_and(|account| !account.value.deactivated))
    }

    /// Whether the account administrates the server.
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub fn is_administrator(&self, user_id: &str) -> Result<bool> {
        let account = AccountRecord::read(&self.store.snapshot(), UserKey::of(user_id))?;
        Ok(account.is_some_and(|account| account.value.administrator && !account.value.deactivated))
    }

    /// A user's devices, for the user and for administrators.
    ///
    /// # Errors
    ///
    /// 403 `M_FORBIDDEN` for anyone else, 404 `M_NOT_FOUND` if there is no such account.
    pub fn whois(&self, session: &Session, user_id: &str) -> Result<Vec<Device>> {
        if *session.user_id != *user_id && !self.is_administrator(&session.user_id)? {
            return Err(Error::forbidden("Only administrators may ask for other users."));
        }
        if AccountRecord::read(&self.store.snapshot(), UserKey::of(user_id))?.is_none() {
            return Err(Error::not_found(format!("There is no account {user_id}.")));
        }
        self.devices.list(user_id)
    }

    /// Gives an account a new password; `user` is a user id or localpart. With `logout` every session ends.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND` if there is no such account, 403 `M_USER_DEACTIVATED`, 400 for a password that cannot be had.
    pub async fn set_password(&self, user: &str, password: &str, logout: bool) -> Result<()> {
        let user_id = self.meant(user)?;
        self.replace_password(&user_id, password).await?;
        if logout {
            self.devices.remove_all_except(&user_id, None).await?;
        }
        Ok(())
    }

    /// Changes the account's row to one with another password. Logins with the former one that are under way fail.
    pub(super) async fn replace_password(&self, user_id: &str, password: &str) -> Result<()> {
        let hash = self.passwords.hash(password).await?;
        self.change_account(user_id, |record| {
            if record.deactivated {
                return Err(Error::new(403, "M_USER_DEACTIVATED", "This account has been deactivated."));
            }
            record.password = Some(hash.clone());
            Ok(())
        })
        .await
    }

    /// Changes the account's row.
    pub(super) async fn change_account(
        &self,
        user_id: &str,
        change: impl Fn(&mut AccountRecord) -> Result<()>,
    ) -> Result<()> {
        let user = UserKey::of(user_id);
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let account = AccountRecord::read(&self.store.snapshot(), user)?;
            let account = account.ok_or_else(|| Error::not_found(format!("There is no account {user_id}.")))?;
            let mut record = account.value;
            change(&mut record)?;
            let mut batch = Batch::with_random_id(&self.world);
            batch.require_version(tables::ACCOUNTS, user.as_bytes(), account.version);
            batch.put(tables::ACCOUNTS, user.as_bytes(), &record.to_bytes());
            if commit(&self.store, batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::contended())
    }
}
