//! Cross-signing keys (client-server API, "Cross-signing").

use super::Keys;
use super::announce::{Update, announce, record_change};
use super::object::{self, MAX_KEY_OBJECT_BYTES};
use crate::accounts::record::device_key;
use crate::accounts::{Accounts, AuthData, MAX_COMMIT_ATTEMPTS, Session, commit};
use crate::error::{Error, Result};
use crate::tables;
use serde::Deserialize;
use serde_json::{Map, Value};
use state_res::ids::UserKey;
use state_res::sign::{VerifyKey, verify_json};
use std::net::IpAddr;
use storage::{Batch, Snapshot, Version, key};

/// What a cross-signing key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    /// Signs the other two.
    Master = 0,
    /// Signs the user's own devices.
    SelfSigning = 1,
    /// Signs other users' master keys; only its owner sees it.
    UserSigning = 2,
}

impl Usage {
    const ALL: [Self; 3] = [Self::Master, Self::SelfSigning, Self::UserSigning];

    fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::SelfSigning => "self_signing",
            Self::UserSigning => "user_signing",
        }
    }

    /// The key of the user's row in `CROSS_SIGNING_KEYS`.
    pub(super) fn row(self, user: UserKey) -> Vec<u8> {
        key::Writer::new().id16(user.as_bytes()).u8(self as u8).finish()
    }

    /// The user's key, with its version for preconditions.
    pub(super) fn read(self, snapshot: &Snapshot, user: UserKey) -> Result<Option<(Map<String, Value>, Version)>> {
        let row = snapshot.get(tables::CROSS_SIGNING_KEYS, &self.row(user))?;
        row.map(|bytes| Ok((object::stored(tables::CROSS_SIGNING_KEYS, &bytes)?, Version::of(&bytes)))).transpose()
    }

    /// Checks a key, from a client or another server, and gives the public key and its canonical form.
    ///
    /// # Errors
    ///
    /// 400 `M_INVALID_PARAM` or `M_BAD_JSON`, 413 `M_TOO_LARGE`.
    pub(super) fn check(self, user_id: &str, key: &Map<String, Value>) -> Result<(String, Vec<u8>)> {
        let what = format!("the {} key", self.as_str());
        object::check_form(&what, key)?;
        if key.get("user_id").and_then(Value::as_str) != Some(user_id) {
            return Err(Error::invalid_param(format!("`user_id` of {what} must be {user_id:?}.")));
        }
        let usage = key.get("usage").and_then(Value::as_array);
        if !usage.is_some_and(|usage| usage.iter().any(|one| one.as_str() == Some(self.as_str()))) {
            return Err(Error::invalid_param(format!("`usage` of {what} must contain {:?}.", self.as_str())));
        }
        let Some(public) = public_key(key) else {
            return Err(Error::invalid_param(format!(
                "`keys` of {what} must have one member, `ed25519:KEY`, whose value is KEY: an ed25519 key in Base64."
            )));
        };
        let mut covered = key.clone();
        covered.remove("unsigned");
        let json = object::canonical(&what, &Value::Object(covered), MAX_KEY_OBJECT_BYTES)?;
        Ok((public.to_owned(), json))
    }
}

/// The public key of a cross-signing key: its key id without `ed25519:`.
pub(super) fn public_key(key: &Map<String, Value>) -> Option<&str> {
    let keys = key.get("keys")?.as_object()?;
    let (id, value) = keys.iter().next().filter(|_| keys.len() == 1)?;
    let public = value.as_str().filter(|public| id.strip_prefix("ed25519:") == Some(public))?;
    VerifyKey::from_base64(public).is_ok().then_some(public)
}

/// Whether `object` is signed by this user's ed25519 key of this id and value.
pub(super) fn is_signed_by(object: &Map<String, Value>, user_id: &str, key_id: &str, public: &str) -> bool {
    VerifyKey::from_base64(public).is_ok_and(|key| verify_json(object, user_id, key_id, &key).is_ok())
}

/// 400 `M_INVALID_SIGNATURE`.
pub(super) fn invalid_signature(message: impl Into<String>) -> Error {
    Error::new(400, "M_INVALID_SIGNATURE", message)
}

/// The body of `POST /keys/device_signing/upload`, without `auth`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct CrossSigningUpload {
    /// The master key.
    pub master_key: Option<Map<String, Value>>,
    /// The self-signing key.
    pub self_signing_key: Option<Map<String, Value>>,
    /// The user-signing key.
    pub user_signing_key: Option<Map<String, Value>>,
}

impl CrossSigningUpload {
    fn of(&self, usage: Usage) -> Option<&Map<String, Value>> {
        match usage {
            Usage::Master => self.master_key.as_ref(),
            Usage::SelfSigning => self.self_signing_key.as_ref(),
            Usage::UserSigning => self.user_signing_key.as_ref(),
        }
    }
}

impl Keys {
    /// Sets a user's cross-signing keys. The user proves their password, unless they have no master key yet or the keys are the ones they
    /// have. A new master key takes the place of all keys that the old one signed.
    ///
    /// # Errors
    ///
    /// 401 until auth is complete; 400 `M_INVALID_SIGNATURE`, `M_MISSING_PARAM` without any master key, `M_INVALID_PARAM`; 403 `M_FORBIDDEN` for
    /// a public key that is a device's id.
    pub async fn upload_cross_signing(
        &self,
        accounts: &Accounts,
        session: &Session,
        upload: &CrossSigningUpload,
        auth: Option<&AuthData>,
        address: IpAddr,
    ) -> Result<()> {
        let (user_id, user) = (&*session.user_id, session.user);
        let mut proved = false;
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let mut batch = Batch::with_random_id(&self.world);
            let had_master = Usage::Master.read(&snapshot, user)?.is_some();
            let updates = replace(&mut batch, &snapshot, user_id, user, upload)?;
            let Some(updates) = updates else { return Ok(()) };
            if had_master && !proved {
                accounts.prove_password(Some(session), "upload cross-signing keys", "", auth, address).await?;
                proved = true;
            }
            if updates.is_empty() {
                // Nobody else sees the user-signing key.
                record_change(&mut batch, &snapshot, user_id, Some(user_id))?;
            }
            announce(&mut batch, &snapshot, user_id, updates)?;
            if commit(&self.store, batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::contended())
    }
}

/// Adds the new keys to `batch`; gives what others are told of them, or `None` if there is nothing new.
fn replace(
    batch: &mut Batch,
    snapshot: &Snapshot,
    user_id: &str,
    user: UserKey,
    upload: &CrossSigningUpload,
) -> Result<Option<Vec<Update>>> {
    let mut now: [Option<Map<String, Value>>; 3] = Default::default();
    let mut is_new = [false; 3];
    let mut new_master = false;
    for usage in Usage::ALL {
        let (index, row) = (usage as usize, usage.row(user));
        let there = usage.read(snapshot, user)?;
        match &there {
            Some((_, version)) => batch.require_version(tables::CROSS_SIGNING_KEYS, &row, *version),
            None => batch.require_absent(tables::CROSS_SIGNING_KEYS, &row),
        };
        let there = there.map(|(key, _)| key);
        let Some(key) = upload.of(usage) else {
            // What the old master key signed means nothing beside the new one.
            if new_master && there.is_some() {
                batch.delete(tables::CROSS_SIGNING_KEYS, &row);
            } else {
                now[index] = there;
            }
            continue;
        };
        let (public, json) = usage.check(user_id, key)?;
        if usage != Usage::Master {
            let master = now[Usage::Master as usize].as_ref().and_then(public_key).ok_or_else(|| {
                Error::missing_param("There is no master key, neither in the request nor from an earlier one.")
            })?;
            if !is_signed_by(key, user_id, &format!("ed25519:{master}"), master) {
                return Err(invalid_signature(format!(
                    "The {} key must be signed by the master key {master}.",
                    usage.as_str()
                )));
            }
        }
        // An old signature means nothing beside a new master key, so that the key is stored as it is now signed.
        if !new_master && let Some(there) = there.filter(|there| object::is_same_key(there, key)) {
            now[index] = Some(there);
            continue;
        }
        if snapshot.contains(tables::DEVICES, &device_key(user, &public))? {
            return Err(Error::forbidden(format!("The public key {public} is the id of one of your devices.")));
        }
        batch.put(tables::CROSS_SIGNING_KEYS, &row, &json);
        now[index] = Some(object::stored(tables::CROSS_SIGNING_KEYS, &json)?);
        is_new[index] = true;
        new_master |= usage == Usage::Master;
    }
    if is_new == [false; 3] {
        return Ok(None);
    }
    let [master, self_signing, _] = now;
    let public = is_new[Usage::Master as usize] || is_new[Usage::SelfSigning as usize];
    let update =
        Update::CrossSigning { master: master.map(Value::Object), self_signing: self_signing.map(Value::Object) };
    Ok(Some(if public { vec![update] } else { Vec::new() }))
}
