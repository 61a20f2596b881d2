//! Client-server API, "Filtering": filters that clients upload, and what they say.

use super::{Accounts, commit};
use crate::{Error, Result, names, tables};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use state_res::ids::UserKey;
use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::Arc;
use storage::{Batch, key};

/// Bytes of a filter.
pub const MAX_FILTER_BYTES: usize = 64 * 1024;
/// Bytes of a filter's digest that make its id.
const ID_BYTES: usize = 12;

/// Parsed filters that are kept in memory.
const KEPT: usize = 512;
/// Bytes of a filter's JSON (or id) beyond which it is not kept.
const LONGEST_KEPT: usize = 2 * 1024;

/// Parsed filters by their JSON, or by user and id.
pub(super) type KnownFilters = Mutex<LruCache<String, Arc<SyncFilter>>>;

/// No filter is known yet.
pub(super) fn known_none() -> Arc<KnownFilters> {
    Arc::new(Mutex::new(LruCache::new(NonZeroUsize::new(KEPT).unwrap_or(NonZeroUsize::MIN))))
}

/// A whole filter, as `/sync` takes it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SyncFilter {
    /// Dot-separated paths of the members that events are cut down to.
    pub event_fields: Option<Vec<String>>,
    /// How events are written.
    pub event_format: EventFormat,
    /// Presence updates.
    #[serde(deserialize_with = "object")]
    pub presence: EventFilter,
    /// Global account data.
    #[serde(deserialize_with = "object")]
    pub account_data: EventFilter,
    /// Everything about rooms.
    #[serde(deserialize_with = "object")]
    pub room: RoomFilter,
}

/// `event_format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventFormat {
    /// As clients usually get events.
    #[default]
    Client,
    /// As servers exchange them.
    Federation,
}

/// `room` of a filter.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RoomFilter {
    /// Rooms that are left out, also if `rooms` names them.
    pub not_rooms: Vec<String>,
    /// The only rooms that are shown.
    pub rooms: Option<Vec<String>>,
    /// Typing notices and receipts.
    pub ephemeral: RoomEventFilter,
    /// Whether rooms that were left are shown.
    pub include_leave: bool,
    /// State.
    pub state: RoomEventFilter,
    /// The timeline.
    pub timeline: RoomEventFilter,
    /// Account data of rooms.
    pub account_data: RoomEventFilter,
}

/// Which events, of whatever kind.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EventFilter {
    /// How many at most.
    pub limit: Option<u64>,
    /// Senders that are left out, also if `senders` names them.
    pub not_senders: Vec<String>,
    /// Types that are left out, also if `types` names them; `*` stands for any characters.
    pub not_types: Vec<String>,
    /// The only senders that are shown.
    pub senders: Option<Vec<String>>,
    /// The only types that are shown; `*` stands for any characters.
    pub types: Option<Vec<String>>,
}

/// Which events of rooms.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RoomEventFilter {
    /// What it has in common with filters of other events.
    #[serde(flatten)]
    pub events: EventFilter,
    /// Unread counts per thread.
    pub unread_thread_notifications: bool,
    /// Only the members that the timeline needs.
    pub lazy_load_members: bool,
    /// Members also if they have been sent before.
    pub include_redundant_members: bool,
    /// Rooms that are left out, also if `rooms` names them.
    pub not_rooms: Vec<String>,
    /// The only rooms that are shown.
    pub rooms: Option<Vec<String>>,
    /// Only events with (or, if false, without) a `url` in their content.
    pub contains_url: Option<bool>,
    /// Only events to which another relates in one of these ways (MSC3440; by now there is `/threads` instead).
    pub related_by_rel_types: Option<Vec<String>>,
    /// Only events to which an event of one of these users relates.
    pub related_by_senders: Option<Vec<String>>,
}

impl SyncFilter {
    /// Reads and checks a filter.
    ///
    /// # Errors
    ///
    /// 400 `M_BAD_JSON` with what is wrong.
    pub fn parse(json: &[u8]) -> Result<Self> {
        if json.len() > MAX_FILTER_BYTES {
            return Err(Error::too_large(format!("A filter must not be larger than {MAX_FILTER_BYTES} bytes.")));
        }
        let filter: Self = read(json)?;
        filter.check()?;
        Ok(filter)
    }

    fn check(&self) -> Result<()> {
        let RoomFilter { ephemeral, state, timeline, account_data, .. } = &self.room;
        self.presence.check("presence")?;
        self.account_data.check("account_data")?;
        for (at, filter) in [
            ("room.ephemeral", ephemeral),
            ("room.state", state),
            ("room.timeline", timeline),
            ("room.account_data", account_data),
        ] {
            filter.check(at)?;
        }
        check_rooms("room", self.room.rooms.as_deref(), &self.room.not_rooms)
    }
}

impl RoomEventFilter {
    /// Reads and checks the filter of `/messages` and `/context`.
    ///
    /// # Errors
    ///
    /// 400 `M_BAD_JSON` with what is wrong.
    pub fn parse(json: &[u8]) -> Result<Self> {
        if json.len() > MAX_FILTER_BYTES {
            return Err(Error::too_large(format!("A filter must not be larger than {MAX_FILTER_BYTES} bytes.")));
        }
        let filter: Self = read(json)?;
        filter.check("filter")?;
        Ok(filter)
    }

    fn check(&self, at: &str) -> Result<()> {
        self.events.check(at)?;
        check_rooms(at, self.rooms.as_deref(), &self.not_rooms)
    }
}

impl EventFilter {
    /// Whether an event of this type passes.
    #[must_use]
    pub fn allows_type(&self, kind: &str) -> bool {
        !self.not_types.iter().any(|pattern| matches(pattern, kind))
            && self.types.as_ref().is_none_or(|types| types.iter().any(|pattern| matches(pattern, kind)))
    }

    /// Whether an event of this sender passes.
    #[must_use]
    pub fn allows_sender(&self, sender: &str) -> bool {
        !self.not_senders.iter().any(|other| other == sender)
            && self.senders.as_ref().is_none_or(|senders| senders.iter().any(|other| other == sender))
    }

    fn check(&self, at: &str) -> Result<()> {
        // None at all of a timeline, as some clients that want nothing of the past ask for, is as good as any number.
        if self.limit == Some(0) && at != "room.timeline" {
            return Err(Error::bad_json(format!("`{at}.limit` must be greater than 0.")));
        }
        for sender in self.senders.iter().flatten().chain(&self.not_senders) {
            if !sender.starts_with('@') || !sender.contains(':') {
                return Err(Error::bad_json(format!("`{at}` names a sender that is no user id.")));
            }
        }
        Ok(())
    }
}

/// Whether `*` in `pattern`, for any characters, can be filled so that it becomes `text`.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut last = None;
    for part in parts {
        // A part is taken at its first place, which leaves the most for the others; the last one must end the text.
        if let Some(middle) = last.replace(part) {
            let middle: &str = middle;
            match rest.find(middle) {
                Some(at) => rest = &rest[at + middle.len()..],
                None => return false,
            }
        }
    }
    match last {
        Some(end) => rest.ends_with(end),
        None => rest.is_empty(),
    }
}

/// Reads a filter. A member that is `null` counts as absent.
fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice::<Value>(json)
        .and_then(|mut filter| {
            drop_nulls(&mut filter);
            serde_json::from_value(filter)
        })
        .map_err(|cause| Error::bad_json(format!("The filter is wrong: {cause}.")))
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(drop_nulls);
    }
}

/// Reads a struct from an object only; serde would take an array as well.
fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<T, D::Error> {
    let members = Map::deserialize(deserializer)?;
    T::deserialize(Value::Object(members)).map_err(D::Error::custom)
}

fn check_rooms(at: &str, rooms: Option<&[String]>, not_rooms: &[String]) -> Result<()> {
    if rooms.into_iter().flatten().chain(not_rooms).all(|room| names::is_room_id(room)) {
        return Ok(());
    }
    Err(Error::bad_json(format!("`{at}` names a room that is no room id.")))
}

impl Accounts {
    /// Keeps a filter and gives its id. The same filter always gets the same id.
    ///
    /// # Errors
    ///
    /// 400 `M_BAD_JSON` with what is wrong, 413 `M_TOO_LARGE`.
    pub async fn add_filter(&self, user_id: &str, json: &[u8]) -> Result<String> {
        SyncFilter::parse(json)?;
        let id = URL_SAFE_NO_PAD.encode(&Sha256::digest(json)[..ID_BYTES]);
        let key = filter_key(user_id, &id);
        if self.store.snapshot().get(tables::FILTERS, &key)?.is_none() {
            let mut batch = Batch::with_random_id(&self.world);
            batch.put(tables::FILTERS, &key, json);
            commit(&self.store, batch).await?;
        }
        Ok(id)
    }

    /// A filter as it was uploaded.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND`.
    pub fn filter(&self, user_id: &str, filter_id: &str) -> Result<Bytes> {
        let row = self.store.snapshot().get(tables::FILTERS, &filter_key(user_id, filter_id))?;
        row.ok_or_else(|| Error::not_found("You have no filter with this id."))
    }

    /// The filter that a request names: a filter's id, or the filter itself as JSON.
    ///
    /// # Errors
    ///
    /// 404 `M_NOT_FOUND`, 400 `M_BAD_JSON`.
    pub fn filter_of_request(&self, user_id: &str, filter: &str) -> Result<Arc<SyncFilter>> {
        // What a filter says never changes: an id is a digest of it.
        let is_json = filter.starts_with('{');
        let name = if is_json { Cow::Borrowed(filter) } else { Cow::Owned(format!("{user_id}/{filter}")) };
        if let Some(known) = self.filters.lock().get(&*name) {
            return Ok(Arc::clone(known));
        }
        let parsed = if is_json {
            SyncFilter::parse(filter.as_bytes())?
        } else {
            SyncFilter::parse(&self.filter(user_id, filter)?)?
        };
        let parsed = Arc::new(parsed);
        if name.len() <= LONGEST_KEPT {
            self.filters.lock().put(name.into_owned(), Arc::clone(&parsed));
        }
        Ok(parsed)
    }
}

fn filter_key(user_id: &str, filter_id: &str) -> Vec<u8> {
    key::Writer::new().id16(UserKey::of(user_id).as_bytes()).str(filter_id).finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, text) in [
            ("m.room.*", "m.room.message"),
            ("*", ""),
            ("*", "m.room.member"),
            ("m.*.mem*r", "m.room.member"),
            ("*member", "m.room.member"),
            ("a*a*a", "aaa"),
            ("m.tag", "m.tag"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("m.room.*", "m.room"), ("", "m"), ("a*a*a", "aa"), ("*x", "xy"), ("m.tag", "m.tags"), ("a*bc*c", "abc")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn wrong_filters_are_told_where() {
        for (json, part) in [
            (r#"{"room":{"state":{"limit":0}}}"#, "room.state.limit"),
            (r#"{"presence":{"senders":["alice"]}}"#, "presence"),
            (r#"{"room":{"rooms":["room"]}}"#, "room"),
            (r#"{"event_format":"xml"}"#, "xml"),
            (r#"{"room":{"state":{"types":"m.room.*"}}}"#, "wrong"),
        ] {
            let error = SyncFilter::parse(json.as_bytes()).unwrap_err();
            assert_eq!(error.errcode, "M_BAD_JSON", "{json}");
            assert!(error.message.contains(part), "{json}: {}", error.message);
        }
    }

    #[test]
    fn a_filter_is_read_whole() {
        let filter = SyncFilter::parse(
            br#"{"room":{"timeline":{"limit":5,"types":["m.*"],"lazy_load_members":true,"contains_url":false}}}"#,
        )
        .unwrap();
        let timeline = filter.room.timeline;
        assert_eq!(
            (timeline.events.limit, timeline.lazy_load_members, timeline.contains_url),
            (Some(5), true, Some(false))
        );
        assert!(timeline.events.allows_type("m.x") && !timeline.events.allows_type("n.x"));
    }
}
