//! Client-server API, "Room Tagging": the content of `m.tag` in a room's account data.

use super::{Accounts, MAX_COMMIT_ATTEMPTS, account_data, commit};
use crate::{Error, Result, names};
use serde_json::{Map, Value, json};
use state_res::ids::{RoomKey, UserKey};
use storage::{Batch, Snapshot};

/// The type of the tags of a room.
pub(super) const TAG: &str = "m.tag";
/// Bytes of a tag's name, as the specification sets them.
const MAX_TAG_BYTES: usize = 255;
/// Tags of one room.
const MAX_TAGS: usize = 1_000;

impl Accounts {
    /// The tags that the user has given to a room: the content of `m.tag`.
    ///
    /// # Errors
    ///
    /// 400 `M_INVALID_PARAM` if `room_id` is none.
    pub fn tags(&self, user_id: &str, room_id: &str) -> Result<Value> {
        check_room(room_id)?;
        let tags = read(&self.store.snapshot(), UserKey::of(user_id), room_id)?;
        Ok(json!({ "tags": tags }))
    }

    /// Gives a room a tag, with what is said about it (`order`).
    ///
    /// # Errors
    ///
    /// 400 `M_INVALID_PARAM` or `M_BAD_JSON`; 403 if the room has too many tags.
    pub async fn set_tag(&self, user_id: &str, room_id: &str, tag: &str, mut about: Map<String, Value>) -> Result<()> {
        if tag.len() > MAX_TAG_BYTES {
            return Err(Error::invalid_param(format!("A tag must not be longer than {MAX_TAG_BYTES} bytes.")));
        }
        // No order is the same as none that counts.
        if about.get("order").is_some_and(Value::is_null) {
            about.remove("order");
        }
        if about.get("order").is_some_and(|order| !order.as_f64().is_some_and(|order| (0.0..=1.0).contains(&order))) {
            return Err(Error::bad_json("`order` must be a number between 0 and 1."));
        }
        self.change_tags(user_id, room_id, |tags| {
            tags.insert(tag.to_owned(), Value::Object(about.clone()));
            if tags.len() > MAX_TAGS {
                return Err(Error::forbidden(format!("The room has {MAX_TAGS} tags, which is the most.")));
            }
            Ok(true)
        })
        .await
    }

    /// Takes a tag from a room; nothing happens if it is not there.
    ///
    /// # Errors
    ///
    /// 400 `M_INVALID_PARAM` if `room_id` is none.
    pub async fn remove_tag(&self, user_id: &str, room_id: &str, tag: &str) -> Result<()> {
        self.change_tags(user_id, room_id, |tags| Ok(tags.remove(tag).is_some())).await
    }

    async fn change_tags(
        &self,
        user_id: &str,
        room_id: &str,
        change: impl Fn(&mut Map<String, Value>) -> Result<bool>,
    ) -> Result<()> {
        check_room(room_id)?;
        let user = UserKey::of(user_id);
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let mut tags = read(&snapshot, user, room_id)?;
            if !change(&mut tags)? {
                return Ok(());
            }
            let content = json!({ "tags": tags }).to_string();
            let mut batch = Batch::with_random_id(&self.world);
            account_data::put(&mut batch, &snapshot, user, Some(room_id), TAG, content.as_bytes())?;
            if commit(&self.store, batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::contended())
    }
}

/// The tags of a room. `m.tag` can also be set as plain account data: what is not as it should be counts as no tags.
fn read(snapshot: &Snapshot, user: UserKey, room_id: &str) -> Result<Map<String, Value>> {
    let content = account_data::get(snapshot, user, Some(RoomKey::of(room_id)), TAG)?;
    let content: Option<Value> = content.and_then(|content| serde_json::from_slice(&content).ok());
    Ok(match content.and_then(|mut content| content.get_mut("tags").map(Value::take)) {
        Some(Value::Object(tags)) => tags,
        _ => Map::new(),
    })
}

fn check_room(room_id: &str) -> Result<()> {
    if names::is_room_id(room_id) {
        return Ok(());
    }
    Err(Error::invalid_param("The room id in the path is none: it starts with ! and has at most 255 bytes."))
}
