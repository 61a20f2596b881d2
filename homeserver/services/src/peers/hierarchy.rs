//! Spaces: the tree of rooms under one (client-server API, "Spaces").

use super::Peers;
use crate::error::{Error, Result};
use crate::names;
use crate::rooms::{Membership, memberships};
use crate::tables;
use serde_json::{Map, Value};
use state_res::ids::{RoomKey, UserKey};
use std::collections::{BTreeMap, HashSet};

/// Rooms of a page where the client does not say, and the most that it may ask for.
pub const MAX_PAGE: usize = 50;
/// How deep the tree is followed.
const MAX_DEPTH: usize = 32;
/// Most rooms looked at for one page.
const MAX_ROOMS: usize = 2_000;
/// Most other servers asked for one page.
const MAX_QUESTIONS: usize = 16;
/// Longest `order` that counts ("Ordering of children within a space").
const MAX_ORDER: usize = 50;

/// `GET /rooms/{roomId}/hierarchy`.
pub struct HierarchyRequest<'a> {
    /// Who asks.
    pub user_id: &'a str,
    /// The space.
    pub room_id: &'a str,
    /// Only children that their space suggests.
    pub suggested_only: bool,
    /// Most rooms of a page.
    pub limit: usize,
    /// How far to go into the space.
    pub max_depth: Option<usize>,
    /// Where the last page ended.
    pub from: Option<&'a str>,
}

/// A page of the tree.
#[derive(Debug, serde::Serialize)]
pub struct HierarchyPage {
    /// Summaries of rooms, each with `children_state`.
    pub rooms: Vec<Map<String, Value>>,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_batch: Option<String>,
}

/// A room still to be looked at.
pub(super) struct Waiting {
    pub(super) room_id: String,
    pub(super) depth: usize,
    pub(super) via: Vec<String>,
}

impl Peers {
    /// A page of the rooms in a space, depth first, as far as the user may see or join them. Rooms that we do not know are asked for at
    /// the servers that their space names.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` for a room that the user may not look into, 400 `M_INVALID_PARAM` for a bad or changed page.
    pub async fn hierarchy(&self, request: &HierarchyRequest<'_>) -> Result<HierarchyPage> {
        let max_depth = request.max_depth.unwrap_or(MAX_DEPTH).min(MAX_DEPTH);
        let suffix = format!(".{max_depth}.{}", request.suggested_only);
        let start = match request.from {
            None | Some("") => 0,
            Some(from) => {
                from.strip_suffix(&suffix).and_then(|start| start.parse::<usize>().ok()).ok_or_else(|| {
                    Error::invalid_param(
                        "`from` is of another request, or `max_depth` or `suggested_only` have changed.",
                    )
                })?
            }
        };
        let limit = request.limit.clamp(1, MAX_PAGE);
        let mut page = HierarchyPage { rooms: Vec::new(), next_batch: None };
        let mut seen = HashSet::new();
        let mut told: BTreeMap<String, Option<Map<String, Value>>> = BTreeMap::new();
        let (mut shown, mut questions) = (0, 0);
        let mut waiting = vec![Waiting { room_id: request.room_id.to_owned(), depth: 0, via: Vec::new() }];
        while let Some(next) = waiting.pop() {
            if seen.len() >= MAX_ROOMS || !seen.insert(next.room_id.clone()) {
                continue;
            }
            let room = match self.describe(&next.room_id)? {
                Some(room) => Some(room),
                None => {
                    if !told.contains_key(&next.room_id) && !next.via.is_empty() && questions < MAX_QUESTIONS {
                        questions += 1;
                        self.ask_hierarchy(&next, request.suggested_only, &mut told).await;
                    }
                    told.remove(&next.room_id).flatten()
                }
            };
            let room = match room {
                Some(room) if self.may_see_room(request.user_id, &next.room_id, &room)? => room,
                _ if next.depth == 0 => return Err(crate::rooms::send::not_in_room(request.room_id)),
                _ => continue,
            };
            if next.depth < max_depth {
                // The last pushed is the next looked at.
                waiting.extend(children(&room, request.suggested_only, next.depth + 1).into_iter().rev());
            }
            if shown >= start {
                if page.rooms.len() == limit {
                    page.next_batch = Some(format!("{shown}{suffix}"));
                    break;
                }
                page.rooms.push(room);
            }
            shown += 1;
        }
        Ok(page)
    }

    /// What we know of a room's place in a tree of rooms, whoever may know it; `None` for a room that we are not in.
    pub(super) fn describe(&self, room_id: &str) -> Result<Option<Map<String, Value>>> {
        if !self.rooms.is_resident(room_id)? {
            return Ok(None);
        }
        let Some(summary) = self.rooms.summary(room_id)? else { return Ok(None) };
        let reader = self.rooms.reader(RoomKey::of(room_id));
        let Some(head) = reader.head()? else { return Ok(None) };
        let mut children = Vec::new();
        for key in reader.state_of_type(head.root, "m.space.child")? {
            let event = reader.required_stored(key)?;
            if event.content().get("via").is_some_and(Value::is_array) {
                let mut child = event.stripped();
                child["origin_server_ts"] = event.origin_server_ts().into();
                children.push(child);
            }
        }
        let Ok(Value::Object(mut room)) = serde_json::to_value(&summary) else { return Ok(None) };
        room.insert("children_state".into(), Value::Array(children));
        room.insert("room_version".into(), head.room_version.as_str().into());
        if let Some(rules) = reader.state_event(head.root, "m.room.join_rules", "")?
            && summary.join_rule.ends_with("restricted")
        {
            let allowed = rules.content().get("allow").and_then(Value::as_array).into_iter().flatten();
            let allowed: Vec<Value> =
                allowed.filter_map(|one| one.get("room_id").filter(|id| id.is_string())).cloned().collect();
            room.insert("allowed_room_ids".into(), Value::Array(allowed));
        }
        if let Some(encryption) = reader.state_event(head.root, "m.room.encryption", "")?
            && let Some(algorithm) = encryption.content().get("algorithm").filter(|algorithm| algorithm.is_string())
        {
            room.insert("encryption".into(), algorithm.clone());
        }
        Ok(Some(room))
    }

    /// The same, as far as another server may know it: its users could look into the room or ask to be let in.
    pub(super) fn describe_to(&self, origin: &str, room_id: &str) -> Result<Option<Map<String, Value>>> {
        let Some(room) = self.describe(room_id)? else { return Ok(None) };
        let mut accessible = is_open(&room) || self.has_members_of(origin, room_id)?;
        for allowed in allowed_rooms(&room) {
            accessible = accessible || self.has_members_of(origin, allowed)?;
        }
        Ok(accessible.then_some(room))
    }

    fn has_members_of(&self, server: &str, room_id: &str) -> Result<bool> {
        let mut row = RoomKey::of(room_id).as_bytes().to_vec();
        row.extend_from_slice(server.as_bytes());
        Ok(self.rooms.deps().store.snapshot().get(tables::ROOM_SERVERS, &row)?.is_some())
    }

    pub(super) fn may_see_room(&self, user_id: &str, room_id: &str, room: &Map<String, Value>) -> Result<bool> {
        let membership = |room_id: &str| -> Result<Option<Membership>> {
            let snapshot = self.rooms.deps().store.snapshot();
            let row = memberships::of_user_in(&snapshot, UserKey::of(user_id), RoomKey::of(room_id))?;
            Ok(row.map(|row| row.membership))
        };
        match membership(room_id)? {
            Some(Membership::Join | Membership::Invite) => return Ok(true),
            Some(Membership::Ban) => return Ok(room.get("world_readable") == Some(&Value::Bool(true))),
            _ if is_open(room) => return Ok(true),
            _ => {}
        }
        for allowed in allowed_rooms(room) {
            if membership(allowed)? == Some(Membership::Join) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks the servers of a room for it and its children; what they say is put into `told`.
    pub(super) async fn ask_hierarchy(
        &self,
        room: &Waiting,
        suggested_only: bool,
        told: &mut BTreeMap<String, Option<Map<String, Value>>>,
    ) {
        /// Servers tried for one room.
        const MAX_SERVERS: usize = 3;
        let servers = room.via.iter().filter(|server| names::is_server_name(server) && *server != self.server_name());
        for server in servers.take(MAX_SERVERS) {
            let Ok(answer) = self.client().hierarchy(server, &room.room_id, suggested_only).await else { continue };
            told.insert(room.room_id.clone(), Some(answer.room).filter(|told| id_of(told) == Some(&room.room_id)));
            for child in answer.children {
                if let Some(id) = id_of(&child).map(str::to_owned) {
                    // A child's own children are not told with it, unless it has none to tell.
                    let is_leaf = child.get("room_type").and_then(Value::as_str) != Some("m.space");
                    if is_leaf || child.contains_key("children_state") {
                        told.entry(id).or_insert(Some(child));
                    }
                }
            }
            for id in answer.inaccessible_children {
                told.entry(id).or_insert(None);
            }
            return;
        }
    }
}

fn id_of(room: &Map<String, Value>) -> Option<&str> {
    room.get("room_id")?.as_str()
}

/// Whether anyone may look into a room, join it or knock.
fn is_open(room: &Map<String, Value>) -> bool {
    let rule = room.get("join_rule").and_then(Value::as_str).unwrap_or("public");
    room.get("world_readable") == Some(&Value::Bool(true)) || matches!(rule, "public" | "knock" | "knock_restricted")
}

fn allowed_rooms(room: &Map<String, Value>) -> impl Iterator<Item = &str> {
    room.get("allowed_room_ids").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The children of a room in their order: those with an `order` by that, then by age, then by room id.
fn children(room: &Map<String, Value>, suggested_only: bool, depth: usize) -> Vec<Waiting> {
    let mut found: Vec<((bool, String, i64, String), Waiting)> = Vec::new();
    for child in room.get("children_state").and_then(Value::as_array).into_iter().flatten() {
        let (content, Some(room_id)) = (&child["content"], child["state_key"].as_str()) else { continue };
        let Some(via) = content["via"].as_array().filter(|_| names::is_room_id(room_id)) else { continue };
        if suggested_only && content["suggested"] != Value::Bool(true) {
            continue;
        }
        let order = content["order"]
            .as_str()
            .filter(|order| order.len() <= MAX_ORDER && order.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
        let rank = (
            order.is_none(),
            order.unwrap_or_default().to_owned(),
            child["origin_server_ts"].as_i64().unwrap_or(i64::MAX),
            room_id.to_owned(),
        );
        let via = via.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        found.push((rank, Waiting { room_id: room_id.to_owned(), depth, via }));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found.into_iter().map(|(_, child)| child).collect()
}
