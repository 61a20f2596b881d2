//! `POST /keys/signatures/upload`: signatures by a user of their own devices and master key, and of others' master keys.

use super::announce::{Update, announce, record_change};
use super::cross_signing::{Usage, invalid_signature, is_signed_by, public_key};
use super::object::{self, MAX_KEY_OBJECT_BYTES};
use super::{Keys, device_prefix};
use crate::accounts::{MAX_COMMIT_ATTEMPTS, commit};
use crate::error::{Error, Result};
use crate::tables;
use serde_json::{Map, Value, json};
use state_res::ids::UserKey;
use std::collections::BTreeMap;
use storage::{Batch, Snapshot, Version, key};

/// For each user, for each key id (of a device, or a public cross-signing key), the signed object.
pub type SignatureUpload = BTreeMap<String, BTreeMap<String, Value>>;

impl Keys {
    /// Takes in signatures; gives what was wrong with each that was refused, in the same form.
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub async fn upload_signatures(
        &self,
        user_id: &str,
        upload: &SignatureUpload,
    ) -> Result<BTreeMap<String, BTreeMap<String, Value>>> {
        let queue = self.queue(UserKey::of(user_id));
        let _turn = queue.lock().await;
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let mut batch = Batch::with_random_id(&self.world);
            let mut failures: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
            let mut updates = Vec::new();
            for (target, keys) in upload {
                let mut is_news = false;
                for (key_id, object) in keys {
                    let taken = match object.as_object() {
                        None => Err(Error::bad_json("A signed key must be an object.")),
                        Some(_) if object.to_string().len() > MAX_KEY_OBJECT_BYTES => Err(Error::too_large(format!(
                            "A key must not have more than {MAX_KEY_OBJECT_BYTES} bytes."
                        ))),
                        Some(object) if target == user_id => {
                            add_to_own(&mut batch, &snapshot, user_id, key_id, object).map(|new| updates.extend(new))
                        }
                        Some(object) => add_to_others(&mut batch, &snapshot, user_id, target, key_id, object)
                            .map(|added| is_news |= added),
                    };
                    match taken {
                        Ok(()) => {}
                        Err(error) if error.status >= 500 => return Err(error),
                        Err(error) => {
                            let why = json!({ "errcode": error.errcode, "error": error.message });
                            failures.entry(target.clone()).or_default().insert(key_id.clone(), why);
                        }
                    }
                }
                if is_news {
                    // Only the signer sees the signature, and so only their devices ask again.
                    record_change(&mut batch, &snapshot, target, Some(user_id))?;
                }
            }
            announce(&mut batch, &snapshot, user_id, updates)?;
            if batch.is_empty() || commit(&self.store, batch).await?.is_some() {
                return Ok(failures);
            }
        }
        Err(Error::contended())
    }
}

/// A signature of one of the user's own devices or of their master key.
fn add_to_own(
    batch: &mut Batch,
    snapshot: &Snapshot,
    user_id: &str,
    key_id: &str,
    object: &Map<String, Value>,
) -> Result<Option<Update>> {
    let user = UserKey::of(user_id);
    let row = device_prefix(user, key_id);
    if let Some(bytes) = snapshot.get(tables::DEVICE_KEYS, &row)? {
        let mut keys = object::stored(tables::DEVICE_KEYS, &bytes)?;
        must_match(&keys, object)?;
        let (signing_key, _) = Usage::SelfSigning
            .read(snapshot, user)?
            .ok_or_else(|| invalid_signature("You have no self-signing key that could have signed it."))?;
        let public = public_key(&signing_key).unwrap_or_default();
        let signing_key_id = format!("ed25519:{public}");
        if !is_signed_by(object, user_id, &signing_key_id, public) {
            return Err(invalid_signature("It is not signed by your self-signing key."));
        }
        let signature = object::signatures_by(object, user_id).find(|(id, _)| *id == signing_key_id);
        let (_, signature) = signature.ok_or_else(|| invalid_signature("The signature is missing."))?;
        if !object::add_signature(&mut keys, user_id, &signing_key_id, signature) {
            return Ok(None);
        }
        let keys = Value::Object(keys);
        batch.require_version(tables::DEVICE_KEYS, &row, Version::of(&bytes));
        batch.put(tables::DEVICE_KEYS, &row, &object::canonical("The device's keys", &keys, MAX_KEY_OBJECT_BYTES)?);
        return Ok(Some(Update::Device { device_id: key_id.to_owned(), keys: Some(keys) }));
    }
    let (mut master, version) = Usage::Master
        .read(snapshot, user)?
        .filter(|(master, _)| public_key(master) == Some(key_id))
        .ok_or_else(|| Error::not_found("You have no device and no master key of this id."))?;
    must_match(&master, object)?;
    let mut added = false;
    for (signing_key_id, signature) in object::signatures_by(object, user_id) {
        let known = object::signatures_by(&master, user_id).any(|one| one == (signing_key_id, signature));
        if known {
            continue;
        }
        let device_id = signing_key_id.strip_prefix("ed25519:").unwrap_or_default();
        let device = snapshot.get(tables::DEVICE_KEYS, &device_prefix(user, device_id))?;
        let device = device.map(|bytes| object::stored(tables::DEVICE_KEYS, &bytes)).transpose()?;
        let public = device.as_ref().and_then(|device| device.get("keys")?.get(signing_key_id)?.as_str());
        if !public.is_some_and(|public| is_signed_by(object, user_id, signing_key_id, public)) {
            return Err(invalid_signature(format!(
                "The signature by {signing_key_id} is not valid, or you have no such device."
            )));
        }
        added |= object::add_signature(&mut master, user_id, signing_key_id, signature);
    }
    if !added {
        if object::signatures_by(object, user_id).next().is_none() {
            return Err(invalid_signature("It has no signature by one of your devices."));
        }
        return Ok(None);
    }
    let row = Usage::Master.row(user);
    let master = Value::Object(master);
    batch.require_version(tables::CROSS_SIGNING_KEYS, &row, version);
    batch.put(tables::CROSS_SIGNING_KEYS, &row, &object::canonical("The master key", &master, MAX_KEY_OBJECT_BYTES)?);
    let self_signing = Usage::SelfSigning.read(snapshot, user)?.map(|(key, _)| Value::Object(key));
    Ok(Some(Update::CrossSigning { master: Some(master), self_signing }))
}

/// A signature of another user's master key. Whether it is new.
fn add_to_others(
    batch: &mut Batch,
    snapshot: &Snapshot,
    user_id: &str,
    target: &str,
    key_id: &str,
    object: &Map<String, Value>,
) -> Result<bool> {
    let (user, target) = (UserKey::of(user_id), UserKey::of(target));
    let (master, _) = Usage::Master
        .read(snapshot, target)?
        .filter(|(master, _)| public_key(master) == Some(key_id))
        .ok_or_else(|| Error::not_found("The user has no master key of this id that is known here."))?;
    must_match(&master, object)?;
    let (signing_key, _) = Usage::UserSigning
        .read(snapshot, user)?
        .ok_or_else(|| invalid_signature("You have no user-signing key that could have signed it."))?;
    let public = public_key(&signing_key).unwrap_or_default();
    let signing_key_id = format!("ed25519:{public}");
    if !is_signed_by(object, user_id, &signing_key_id, public) {
        return Err(invalid_signature("It is not signed by your user-signing key."));
    }
    let signature = object::signatures_by(object, user_id).find(|(id, _)| *id == signing_key_id);
    let (_, signature) = signature.ok_or_else(|| invalid_signature("The signature is missing."))?;
    let row = signatures_of(target, key_id, user).str(&signing_key_id).finish();
    if snapshot.get(tables::KEY_SIGNATURES, &row)?.is_some_and(|there| *there == *signature.as_bytes()) {
        return Ok(false);
    }
    batch.put(tables::KEY_SIGNATURES, &row, signature.as_bytes());
    Ok(true)
}

fn must_match(there: &Map<String, Value>, object: &Map<String, Value>) -> Result<()> {
    if object::is_same_key(there, object) {
        return Ok(());
    }
    Err(Error::invalid_param("Apart from its signatures, it is not the key that is known here."))
}

/// Adds to another user's master key what `signer` signed it with.
pub(super) fn add_signatures_of(
    snapshot: &Snapshot,
    owner: UserKey,
    master: &mut Map<String, Value>,
    signer: &str,
) -> Result<()> {
    let Some(public) = public_key(master).map(str::to_owned) else { return Ok(()) };
    let prefix = signatures_of(owner, &public, UserKey::of(signer)).finish();
    for row in snapshot.scan_prefix(tables::KEY_SIGNATURES, &prefix) {
        let (row, signature) = row?;
        let key_id = key::Reader::new(row.get(prefix.len()..).unwrap_or_default()).str()?;
        object::add_signature(master, signer, &key_id, &String::from_utf8_lossy(&signature));
    }
    Ok(())
}

fn signatures_of(owner: UserKey, public: &str, signer: UserKey) -> key::Writer {
    key::Writer::new().id16(owner.as_bytes()).str(public).id16(signer.as_bytes())
}
