//! `GET /room_summary/{roomIdOrAlias}`: what a room shows of itself to someone who may join it, and rooms shared with someone.

use super::Peers;
use super::hierarchy::Waiting;
use crate::error::{Error, Result};
use crate::limits;
use crate::names;
use crate::rooms::{Membership, memberships};
use serde::Serialize;
use serde_json::{Map, Value};
use state_res::ids::{RoomKey, UserKey};
use std::collections::BTreeMap;

/// Most servers that a client may name, or that are taken from an alias.
const MAX_SERVERS: usize = 16;
/// Rooms in one answer to `/mutual_rooms`.
const MAX_MUTUAL_ROOMS: usize = 500;

/// Rooms that two users share.
#[derive(Debug, Serialize)]
pub struct MutualRooms {
    /// Their ids, in the order of these.
    pub joined: Vec<String>,
    /// How many there are in all.
    pub count: usize,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_batch: Option<String>,
}

impl Peers {
    /// A room's summary, as far as the user may see or join it, with their membership. A room that we are not in is asked for at the
    /// servers of `via`, of its alias and of its id.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND` for a room that is not found, or that the user may neither see nor join; 400 `M_INVALID_PARAM`.
    pub async fn room_summary(&self, user_id: &str, id_or_alias: &str, via: &[String]) -> Result<Map<String, Value>> {
        self.rooms.deps().limits.take(&limits::SUMMARIES_BY_USER, user_id)?;
        let (room_id, known) = self.find_room(id_or_alias).await?;
        let room = match self.describe(&room_id)? {
            Some(room) => Some(room),
            None => {
                let mut servers = via.to_vec();
                servers.extend(self.inviter_server(user_id, &room_id)?);
                servers.extend(known);
                servers.extend(names::server_of(&room_id).map(str::to_owned));
                let mut via = super::membership::distinct(servers);
                via.truncate(MAX_SERVERS);
                let mut told = BTreeMap::new();
                let wanted = Waiting { room_id: room_id.clone(), depth: 0, via };
                self.ask_hierarchy(&wanted, false, &mut told).await;
                told.remove(&room_id).flatten()
            }
        };
        let mut room = match room {
            Some(room) if self.may_see_room(user_id, &room_id, &room)? => room,
            _ => return Err(Error::not_found(format!("There is no room {id_or_alias} that you could join or see."))),
        };
        room.remove("children_state");
        let snapshot = self.rooms.deps().store.snapshot();
        if let Some(row) = memberships::of_user_in(&snapshot, UserKey::of(user_id), RoomKey::of(&room_id))? {
            room.insert("membership".into(), row.membership.as_str().into());
        }
        Ok(room)
    }

    /// The rooms that two users are both joined to.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` for the user's own id, for what is no user id, and for a bad page.
    pub fn mutual_rooms(&self, user_id: &str, other: &str, from: Option<&str>) -> Result<MutualRooms> {
        if !names::is_user_id(other) {
            return Err(Error::invalid_param(format!("{other:?} is no user id.")));
        }
        if other == user_id {
            return Err(Error::invalid_param("`user_id` is your own; you share all your rooms with yourself."));
        }
        let other = UserKey::of(other);
        let mut joined = Vec::new();
        for room_id in self.joined_rooms(user_id)? {
            let member = self.rooms.reader(RoomKey::of(&room_id)).member(other)?;
            if member.is_some_and(|member| member.membership == Membership::Join) {
                joined.push(room_id);
            }
        }
        joined.sort();
        let count = joined.len();
        if let Some(from) = from.filter(|from| !from.is_empty()) {
            if !names::is_room_id(from) {
                return Err(Error::invalid_param("`from` is no token of an earlier answer."));
            }
            joined.retain(|room_id| room_id.as_str() > from);
        }
        let more = joined.len() > MAX_MUTUAL_ROOMS;
        joined.truncate(MAX_MUTUAL_ROOMS);
        let next_batch = joined.last().filter(|_| more).cloned();
        Ok(MutualRooms { joined, count, next_batch })
    }
}
