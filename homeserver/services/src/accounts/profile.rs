//! Client-server API, "Profiles": our users' names, avatars and further fields.

use super::{
    Accounts, MAX_COMMIT_ATTEMPTS, commit,
    following::{self, Kind, Work},
    names::{beginning, split_user_id},
    record::{self, Versioned, from_bytes},
};
use crate::{Error, Result, Services, limits, peers::remote_error, rooms::Profiles, tables};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use state_res::ids::UserKey;
use storage::{Batch, Snapshot};

/// Bytes of a whole profile, as the specification sets them.
pub const MAX_PROFILE_BYTES: usize = 64 * 1024;
/// Bytes of a field's name, as the specification sets them.
const MAX_FIELD_NAME_BYTES: usize = 255;
/// Bytes of a display name. It goes into every member event.
const MAX_DISPLAY_NAME_BYTES: usize = 1024;
/// Bytes of an avatar's URI. It goes into every member event.
const MAX_AVATAR_URL_BYTES: usize = 1024;

/// The fields that member events carry.
const MEMBER_FIELDS: [&str; 2] = ["displayname", "avatar_url"];

/// The fields of a profile.
pub type Profile = Map<String, Value>;

/// A row of `PROFILES`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ProfileRecord {
    pub(super) user_id: String,
    pub(super) profile: Profile,
}

/// Adds to `batch` the profile of a new account.
pub(super) fn add_new(batch: &mut Batch, user_id: &str, display_name: Option<&str>) {
    let mut profile = Profile::new();
    if let Some(name) = display_name {
        profile.insert("displayname".to_owned(), Value::String(name.to_owned()));
    }
    let row = ProfileRecord { user_id: user_id.to_owned(), profile };
    batch.put(tables::PROFILES, UserKey::of(user_id).as_bytes(), &record::to_bytes(&row));
}

impl Services {
    /// A user's profile, or one field of it as `{field: value}`; of another server's user, that server is asked.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND`, 400 `M_INVALID_PARAM` if `user_id` is none.
    pub async fn profile_of(&self, user_id: &str, field: Option<&str>) -> Result<Profile> {
        if !crate::names::is_user_id(user_id) {
            return Err(Error::invalid_param(format!("{user_id:?} is no user id.")));
        }
        let (_, server) = split_user_id(user_id)?;
        if server != self.config.server_name {
            return self.remote_profile(server, user_id, field).await;
        }
        match field {
            Some(field) => self.accounts.profile_field(user_id, field),
            None => self.accounts.profile(user_id),
        }
    }

    /// Sets a field of a user's profile, or with `None` removes it, and lets the member events follow.
    ///
    /// # Errors
    ///
    /// 400 for names and values that cannot be had, 404 `M_NOT_FOUND`, 429.
    pub async fn set_profile_field(&self, user_id: &str, field: &str, value: Option<Value>) -> Result<()> {
        match self.accounts.write_profile_field(user_id, field, value).await? {
            Some(work) => self.follow(work).await,
            None => Ok(()),
        }
    }

    /// `GET /query/profile` of the server-server API.
    async fn remote_profile(&self, server: &str, user_id: &str, field: Option<&str>) -> Result<Profile> {
        let asked = self.peers.client().profile(server, user_id, field).await;
        let mut profile = asked.map_err(|error| remote_error(&error))?;
        if let Some(field) = field {
            profile.retain(|name, _| name == field);
            if profile.is_empty() {
                return Err(no_such_field(field));
            }
        }
        Ok(profile)
    }
}

impl Profiles for Accounts {
    fn exists(&self, user_id: &str) -> Result<bool> {
        Ok(super::record::AccountRecord::read(&self.store.snapshot(), UserKey::of(user_id))?
            .is_some_and(|account| !account.value.deactivated))
    }

    fn member_fields(&self, user_id: &str) -> Result<Map<String, Value>> {
        let Some(row) = read(&self.store.snapshot(), UserKey::of(user_id))? else { return Ok(Map::new()) };
        let mut profile = row.value.profile;
        profile.retain(|field, _| MEMBER_FIELDS.contains(&field.as_str()));
        Ok(profile)
    }
}

impl Accounts {
    /// The profile of one of our users.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND` if there is no such account (any more).
    pub fn profile(&self, user_id: &str) -> Result<Profile> {
        let row = read(&self.store.snapshot(), UserKey::of(user_id))?;
        row.map(|row| row.value.profile).ok_or_else(|| Error::not_found("There is no profile of this user."))
    }

    /// One field of a profile, as `{field: value}`.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND` if there is no such account or field.
    pub fn profile_field(&self, user_id: &str, field: &str) -> Result<Profile> {
        let value = self.profile(user_id)?.remove(field);
        let value = value.ok_or_else(|| no_such_field(field))?;
        Ok(Map::from_iter([(field.to_owned(), value)]))
    }

    /// Sets a field of a profile, or with `None` removes it. Gives what is left to do, if the user's member events must
    /// follow.
    async fn write_profile_field(&self, user_id: &str, field: &str, value: Option<Value>) -> Result<Option<Work>> {
        check_field_name(field)?;
        let in_member_events = MEMBER_FIELDS.contains(&field);
        // Clients have long removed these two by setting them to nothing.
        let value = value.filter(|value| !(in_member_events && (value.is_null() || value == "")));
        if let Some(value) = &value {
            check_value(field, value)?;
        }
        self.limits.take(&limits::PROFILE_BY_USER, user_id)?;
        let user = UserKey::of(user_id);
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let Some(Versioned { value: mut row, version }) = read(&self.store.snapshot(), user)? else {
                return Err(Error::not_found("There is no profile of this user."));
            };
            if row.profile.get(field) == value.as_ref() {
                return Ok(None);
            }
            match &value {
                Some(value) => row.profile.insert(field.to_owned(), value.clone()),
                None => row.profile.remove(field),
            };
            if value.is_some() && record::to_bytes(&row.profile).len() > MAX_PROFILE_BYTES {
                let sentence = format!("The profile would be larger than {MAX_PROFILE_BYTES} bytes.");
                return Err(Error::new(400, "M_PROFILE_TOO_LARGE", sentence));
            }
            let mut batch = Batch::with_random_id(&self.world);
            batch.require_version(tables::PROFILES, user.as_bytes(), version);
            batch.put(tables::PROFILES, user.as_bytes(), &record::to_bytes(&row));
            let work = in_member_events.then(|| following::add(&mut batch, &self.world, Kind::Profile, user_id));
            if commit(&self.store, batch).await?.is_some() {
                return Ok(work);
            }
        }
        Err(Error::contended())
    }
}

pub(super) fn read(snapshot: &Snapshot, user: UserKey) -> Result<Option<Versioned<ProfileRecord>>> {
    record::read(snapshot, tables::PROFILES, user.as_bytes())
}

pub(super) fn parse(row: &Bytes) -> Result<ProfileRecord> {
    from_bytes(tables::PROFILES, row)
}

fn no_such_field(field: &str) -> Error {
    Error::not_found(format!("The profile has no field {:?}.", beginning(field, MAX_FIELD_NAME_BYTES)))
}

/// `displayname`, `avatar_url`, `m.tz`, or a custom field after the Common Namespaced Identifier Grammar.
fn check_field_name(field: &str) -> Result<()> {
    if field.len() > MAX_FIELD_NAME_BYTES {
        let sentence = format!("The name of a profile field must not be longer than {MAX_FIELD_NAME_BYTES} bytes.");
        return Err(Error::new(400, "M_KEY_TOO_LARGE", sentence));
    }
    let namespaced = field.contains('.')
        && field.starts_with(|c: char| c.is_ascii_lowercase())
        && !field.ends_with('.')
        && field.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-'));
    if namespaced || MEMBER_FIELDS.contains(&field) {
        return Ok(());
    }
    Err(Error::invalid_param(
        "A profile field is `displayname`, `avatar_url`, or namespaced as in `org.example.field`.",
    ))
}

fn check_value(field: &str, value: &Value) -> Result<()> {
    let limit = match field {
        "displayname" => MAX_DISPLAY_NAME_BYTES,
        "avatar_url" => MAX_AVATAR_URL_BYTES,
        "m.tz" => MAX_FIELD_NAME_BYTES,
        _ => return Ok(()),
    };
    let Some(text) = value.as_str() else {
        return Err(Error::bad_json(format!("`{field}` must be a string.")));
    };
    if text.len() > limit {
        return Err(Error::too_large(format!("`{field}` must not be longer than {limit} bytes.")));
    }
    if field == "avatar_url" && !text.starts_with("mxc://") {
        return Err(Error::invalid_param("`avatar_url` must be an mxc:// URI."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn field_names_follow_the_grammar() {
        for right in ["displayname", "avatar_url", "m.tz", "org.example.job_title", "a.b-c"] {
            check_field_name(right).unwrap();
        }
        for wrong in ["", "name", "Org.example", ".a.b", "a.b.", "a b.c", "ä.b", "1.b"] {
            assert_eq!(check_field_name(wrong).unwrap_err().errcode, "M_INVALID_PARAM", "{wrong}");
        }
        assert_eq!(check_field_name(&format!("a.{}", "b".repeat(254))).unwrap_err().errcode, "M_KEY_TOO_LARGE");
    }
}
