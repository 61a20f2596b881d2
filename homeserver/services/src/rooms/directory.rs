//! The published room directory of this server.

use super::{RoomWriter, Rooms};
use crate::commit::commit_freely;
use crate::error::{Error, Result};
use crate::names;
use crate::tables;
use serde::Serialize;
use serde_json::Value;
use state_res::ids::RoomKey;
use storage::Batch;

/// Most rooms in one answer.
const MAX_LIMIT: usize = 500;

/// An entry of the directory ("PublishedRoomsChunk").
#[derive(Debug, Clone, Serialize)]
pub struct PublicRoom {
    /// The room.
    pub room_id: String,
    /// Its canonical alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canonical_alias: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Its picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// Joined members.
    pub num_joined_members: u64,
    /// Whether anyone may read it.
    pub world_readable: bool,
    /// Whether guests may join.
    pub guest_can_join: bool,
    /// Its join rule.
    pub join_rule: String,
    /// The type in `m.room.create`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_type: Option<String>,
}

/// What a client looks for.
#[derive(Debug, Clone, Default)]
pub struct DirectoryQuery {
    /// Most entries.
    pub limit: Option<usize>,
    /// Where to go on, as an earlier answer said.
    pub since: Option<String>,
    /// Text to find in name, topic and alias, whatever its case.
    pub search: Option<String>,
    /// Room types wanted; `None` in the list stands for rooms without one.
    pub room_types: Option<Vec<Option<String>>>,
}

/// One page of the directory.
#[derive(Debug, Serialize)]
pub struct DirectoryPage {
    /// The rooms, most members first.
    pub chunk: Vec<PublicRoom>,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_batch: Option<String>,
    /// Where to go back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prev_batch: Option<String>,
    /// How many rooms there are.
    pub total_room_count_estimate: usize,
}

/// Lists the room being written.
pub(super) fn publish(writer: &mut RoomWriter<'_>) {
    let room = writer.reader.room();
    let room_id = writer.room_id().to_owned();
    writer.batch().put(tables::DIRECTORY, room.as_bytes(), room_id.as_bytes());
}

impl Rooms {
    /// Whether a room is listed.
    pub fn is_listed(&self, room_id: &str) -> Result<bool> {
        Ok(self.deps().store.snapshot().get(tables::DIRECTORY, RoomKey::of(room_id).as_bytes())?.is_some())
    }

    /// `PUT /directory/list/room/{roomId}`: by who may set the room's canonical alias.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND`, 403 `M_FORBIDDEN`.
    pub async fn set_listed(&self, user_id: &str, room_id: &str, listed: bool) -> Result<()> {
        self.known(room_id)?;
        if !self.may_set(room_id, user_id, "m.room.canonical_alias")? {
            return Err(Error::forbidden(format!(
                "Listing {room_id} needs the power to set its canonical alias, which you do not have."
            )));
        }
        let mut batch = Batch::with_random_id(&self.deps().world);
        let room = RoomKey::of(room_id);
        if listed {
            batch.put(tables::DIRECTORY, room.as_bytes(), room_id.as_bytes());
        } else {
            batch.delete(tables::DIRECTORY, room.as_bytes());
        }
        commit_freely(&self.deps().store, batch).await.map(drop)
    }

    /// What a room shows of itself, for the directory, hierarchies and summaries; `None` for an unknown one.
    pub fn summary(&self, room_id: &str) -> Result<Option<PublicRoom>> {
        let reader = self.reader(RoomKey::of(room_id));
        let Some(head) = reader.head()? else { return Ok(None) };
        let text = |kind: &str, member: &str| -> Result<Option<String>> {
            let event = reader.state_event(head.root, kind, "")?;
            Ok(event.and_then(|pdu| pdu.content().get(member).and_then(Value::as_str).map(str::to_owned)))
        };
        let num_joined_members = reader.member_counts(head.root)?.joined;
        Ok(Some(PublicRoom {
            room_id: room_id.to_owned(),
            // Whoever writes state may have written anything there; what is none is not passed on as one.
            canonical_alias: text("m.room.canonical_alias", "alias")?.filter(|alias| names::is_room_alias(alias)),
            name: text("m.room.name", "name")?,
            topic: text("m.room.topic", "topic")?,
            avatar_url: text("m.room.avatar", "url")?.filter(|url| names::is_mxc_uri(url)),
            num_joined_members,
            world_readable: text("m.room.history_visibility", "history_visibility")?.as_deref()
                == Some("world_readable"),
            guest_can_join: text("m.room.guest_access", "guest_access")?.as_deref() == Some("can_join"),
            join_rule: text("m.room.join_rules", "join_rule")?.unwrap_or_else(|| "invite".to_owned()),
            room_type: text("m.room.create", "type")?,
        }))
    }

    /// One page of this server's directory.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` for a `since` that we did not give.
    pub fn directory(&self, query: &DirectoryQuery) -> Result<DirectoryPage> {
        let start = match query.since.as_deref() {
            None | Some("") => 0,
            Some(text) => text.parse::<usize>().map_err(|_| {
                Error::invalid_param(format!("`since` is {text:?}, which no answer of this server contained."))
            })?,
        };
        let snapshot = self.deps().store.snapshot();
        let mut rooms = Vec::new();
        for row in snapshot.scan_prefix(tables::DIRECTORY, b"") {
            let room_id = String::from_utf8_lossy(&row?.1).into_owned();
            let Some(room) = self.summary(&room_id)? else { continue };
            if matches(&room, query) {
                rooms.push(room);
            }
        }
        rooms.sort_by(|a, b| b.num_joined_members.cmp(&a.num_joined_members).then_with(|| a.room_id.cmp(&b.room_id)));
        let total = rooms.len();
        let limit = query.limit.unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
        let chunk: Vec<PublicRoom> = rooms.into_iter().skip(start).take(limit).collect();
        let end = start + chunk.len();
        Ok(DirectoryPage {
            next_batch: (end < total && !chunk.is_empty()).then(|| end.to_string()),
            prev_batch: (start > 0).then(|| start.saturating_sub(limit).to_string()),
            chunk,
            total_room_count_estimate: total,
        })
    }
}

fn matches(room: &PublicRoom, query: &DirectoryQuery) -> bool {
    let type_wanted = query.room_types.as_ref().is_none_or(|types| types.contains(&room.room_type));
    let text_found = query.search.as_deref().is_none_or(|text| {
        let text = text.to_lowercase();
        [&room.name, &room.topic, &room.canonical_alias]
            .into_iter()
            .flatten()
            .any(|field| field.to_lowercase().contains(&text))
    });
    type_wanted && text_found
}
