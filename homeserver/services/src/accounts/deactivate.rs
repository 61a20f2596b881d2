//! Client-server API, "Password management" and "Account deactivation".

use super::{
    Accounts, AuthData, Challenge, Session, account_data, commit,
    following::{self, Kind, Work},
    password, uia,
};
use crate::rooms::erasure::Erasures;
use crate::{Error, Result, Services, tables};
use state_res::ids::UserKey;
use std::net::IpAddr;
use storage::{Batch, key};

/// Pieces of account data erased by one batch.
const ERASED_AT_ONCE: usize = 256;

impl Accounts {
    /// Changes a user's own password through user-interactive auth. Without a session, the password stage says whose.
    /// With `logout_devices` all other devices go.
    ///
    /// # Errors
    ///
    /// 401 until auth is complete; 400 for a password that cannot be had; 429.
    pub async fn change_password(
        &self,
        session: Option<&Session>,
        new_password: &str,
        logout_devices: bool,
        auth: Option<&AuthData>,
        address: IpAddr,
    ) -> Result<()> {
        password::check_new(new_password)?;
        let user_id = self.prove_password(session, "change password", "", auth, address).await?;
        self.replace_password(&user_id, new_password).await?;
        if logout_devices {
            self.devices.remove_all_except(&user_id, session.map(|session| &*session.device_id)).await?;
        }
        Ok(())
    }

    /// Removes devices through user-interactive auth.
    ///
    /// # Errors
    ///
    /// 401 until auth is complete; 429.
    pub async fn delete_devices(
        &self,
        session: &Session,
        device_ids: &[String],
        auth: Option<&AuthData>,
        address: IpAddr,
    ) -> Result<()> {
        let mut named: Vec<&str> = device_ids.iter().map(String::as_str).collect();
        named.sort_unstable();
        let user_id = self.prove_password(Some(session), "delete devices", &named.join("\0"), auth, address).await?;
        self.devices.remove(&user_id, device_ids).await
    }

    /// User-interactive auth whose one stage is the account's password, for an operation on `subject`: the user it proved.
    ///
    /// # Errors
    ///
    /// 401 until auth is complete; 429.
    pub async fn prove_password(
        &self,
        session: Option<&Session>,
        operation: &'static str,
        subject: &str,
        auth: Option<&AuthData>,
        address: IpAddr,
    ) -> Result<String> {
        let user_id = session.map(|session| &*session.user_id);
        let challenge = Challenge { operation, subject, user_id, flows: &[&[uia::PASSWORD]] };
        let proved = self.interactive_auth(challenge, auth, address).await?;
        proved.ok_or_else(|| Error::internal("a password stage was complete without an owner"))
    }

    /// Ends an account for good: no password opens it, its devices and its profile are gone, its name stays taken. With
    /// `erase` its account data go too, and its events are shown redacted to those who join later. Safe to do again.
    ///
    /// Gives what is left to do: leaving the rooms.
    async fn close(&self, user_id: &str, erase: bool) -> Result<Work> {
        self.change_account(user_id, |record| {
            record.deactivated = true;
            record.password = None;
            Ok(())
        })
        .await?;
        // From here on nobody can sign in, so that no device comes back.
        self.devices.remove_all_except(user_id, None).await?;
        let user = UserKey::of(user_id);
        let mut batch = Batch::with_random_id(&self.world);
        if erase {
            let now = i64::try_from(self.world.now().millis()).unwrap_or(i64::MAX);
            Erasures::write(&mut batch, &self.store.snapshot(), user, now)?;
        }
        let work = following::add(&mut batch, &self.world, Kind::Departure, user_id);
        batch.delete(tables::PROFILES, user.as_bytes());
        batch.delete_range(tables::FILTERS, user.as_bytes(), &key::prefix_end(user.as_bytes()));
        commit(&self.store, batch).await?;
        if erase {
            self.erase_account_data(user).await?;
        }
        Ok(work)
    }

    async fn erase_account_data(&self, user: UserKey) -> Result<()> {
        loop {
            let mut batch = Batch::with_random_id(&self.world);
            if !account_data::erase(&mut batch, &self.store.snapshot(), user, ERASED_AT_ONCE)? {
                return Ok(());
            }
            commit(&self.store, batch).await?;
        }
    }
}

impl Services {
    /// `POST /account/deactivate`: the user proves their password, then the account ends.
    ///
    /// # Errors
    ///
    /// 401 until auth is complete; 429.
    pub async fn deactivate_own_account(
        &self,
        session: Option<&Session>,
        erase: bool,
        auth: Option<&AuthData>,
        address: IpAddr,
    ) -> Result<()> {
        let user_id = self.accounts.prove_password(session, "deactivate", "", auth, address).await?;
        self.deactivate(&user_id, erase).await
    }

    /// Ends an account; `user` is a user id or localpart. The user leaves every room.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND` if there is no such account.
    pub async fn deactivate(&self, user: &str, erase: bool) -> Result<()> {
        let user_id = self.accounts.meant(user)?;
        let work = self.accounts.close(&user_id, erase).await?;
        self.rooms.deps().caches.erasures.load(&self.store.snapshot())?;
        self.follow(work).await
    }
}
