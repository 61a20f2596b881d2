//! What other servers may know of a room.

use super::Peers;
use super::outliers::order_by;
use crate::error::{Error, Result};
use crate::rooms::head::Head;
use crate::rooms::record::StoredEvent;
use crate::rooms::server_view::ServerView;
use crate::rooms::standing::Standing;
use crate::rooms::{NewEvent, RoomReader, timeline};
use federation::RawJson;
use federation::types::{Direction, EventAtTime, JoinAnswer, StateAnswer, StateIds, Template};
use serde_json::Value;
use state_res::ids::{EventKey, RoomKey};
use state_res::pdu::Pdu;
use state_res::tree::Root;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most events of an auth chain that are walked.
const MAX_AUTH_CHAIN: usize = 200_000;

impl Peers {
    /// A room in which this server has joined members, and which `origin` may ask about (server ACLs).
    pub(super) fn shared(&self, origin: &str, room_id: &str) -> Result<(RoomReader, Head)> {
        let (reader, head) = self.rooms.known(room_id)?;
        if !self.rooms.is_resident(room_id)? {
            return Err(Error::not_found(format!("This server is not in the room {room_id}.")));
        }
        if !acl_allows(&reader, head.root, origin)? {
            return Err(Error::forbidden(format!("{origin} is kept out of {room_id} by its server ACL.")));
        }
        Ok((reader, head))
    }

    /// The same, if `origin` has joined members in it.
    pub(super) fn shared_with_member(&self, origin: &str, room_id: &str) -> Result<(RoomReader, Head)> {
        let (reader, head) = self.shared(origin, room_id)?;
        if !reader.has_server(origin)? {
            return Err(Error::forbidden(format!("{origin} is not in the room {room_id}.")));
        }
        Ok((reader, head))
    }

    /// An event for another server to complete: as we would send it, without hashes and signatures.
    pub(super) async fn template(&self, room_id: &str, event: NewEvent) -> Result<Template> {
        let deps = self.rooms.deps();
        self.rooms
            .write(room_id, |writer| {
                let (fields, state) = writer.fields(&event)?;
                let version = writer.head.room_version;
                let pdu = state_res::build::build(version, fields, &deps.server_name, &deps.signing_key())
                    .map_err(crate::rooms::writer::pdu_error)?;
                state_res::auth::check(&pdu, &state).map_err(crate::rooms::writer::refused)?;
                let mut object = pdu.to_object();
                for member in ["hashes", "signatures", "event_id"] {
                    object.remove(member);
                }
                // Asked for in templates, though events have none.
                object.insert("origin".to_owned(), deps.server_name.clone().into());
                Ok(Template {
                    room_version: Some(version.as_str().to_owned()),
                    event: RawJson::from_known(Value::Object(object).to_string()),
                })
            })
            .await
            .map(|(template, _)| template)
    }

    /// The room as a joining server needs it.
    pub(super) async fn join_answer(&self, room_id: &str, join: &Pdu) -> Result<JoinAnswer> {
        let reader = self.rooms.reader(RoomKey::of(room_id));
        let before = reader
            .standing(join.key())?
            .ok_or_else(|| Error::internal("a join that was just placed has no standing"))?
            .before;
        let mut servers = reader.servers()?;
        let joined_before = reader.membership_in(before, join.sender())? == Some(crate::rooms::Membership::Join);
        if !joined_before && reader.joined_of(join.sender_server())? == 1 {
            // It is in the room by this join alone, and those before it are asked for.
            servers.retain(|server| server != join.sender_server());
        }
        let event = RawJson::from_known(join.canonical().to_vec());
        let (state, auth_chain) =
            self.world().blocking(move || state_and_chain(&reader, before, |key, _| raw(&reader, key))).await?;
        Ok(JoinAnswer { event: Some(event), state, auth_chain, members_omitted: false, servers_in_room: Some(servers) })
    }

    /// The state before an event: whole if `origin` may see the event, otherwise with what is hidden from it redacted.
    pub(super) async fn state_answer(&self, origin: &str, room_id: &str, event_id: &str) -> Result<StateAnswer> {
        let (reader, current, event, standing) = self.placed_in(origin, room_id, event_id)?;
        let origin = origin.to_owned();
        self.world()
            .blocking(move || {
                let view = ServerView::new(&reader, &origin, current);
                let whole = view.may_see(&event, &standing)?;
                // Of the chain, the server gets only what it could ask for one by one.
                let show = |key, is_state| if whole && is_state { raw(&reader, key) } else { shown(&view, key) };
                let (pdus, auth_chain) = state_and_chain(&reader, standing.before, show)?;
                Ok(StateAnswer { pdus, auth_chain })
            })
            .await
    }

    /// The same as ids.
    pub(super) async fn state_ids_answer(&self, origin: &str, room_id: &str, event_id: &str) -> Result<StateIds> {
        let (reader, _, _, standing) = self.placed_in(origin, room_id, event_id)?;
        let before = standing.before;
        self.world()
            .blocking(move || {
                let keys = reader.state(before)?;
                let mut pdu_ids = Vec::with_capacity(keys.len());
                for key in &keys {
                    pdu_ids.push(reader.required_stored(*key)?.event_id().to_owned());
                }
                let mut auth_chain_ids = Vec::new();
                for key in auth_chain(&reader, keys)? {
                    auth_chain_ids.push(reader.required_stored(key)?.event_id().to_owned());
                }
                Ok(StateIds { pdu_ids, auth_chain_ids })
            })
            .await
    }

    /// An event with a place in a room that `origin` is in, and the room's current state.
    fn placed_in(&self, origin: &str, room_id: &str, event_id: &str) -> Result<(RoomReader, Root, Pdu, Standing)> {
        let (reader, head) = self.shared_with_member(origin, room_id)?;
        let unknown = || Error::not_found(format!("The state before {event_id} is not known here."));
        let event = self.event_in(&reader, event_id)?;
        let standing = reader.standing(event.key())?.filter(|standing| !standing.is_outlier()).ok_or_else(unknown)?;
        Ok((reader, head.root, event, standing))
    }

    /// The auth chain of an event.
    pub(super) fn event_auth_answer(&self, origin: &str, room_id: &str, event_id: &str) -> Result<Vec<RawJson>> {
        let (reader, head) = self.shared_with_member(origin, room_id)?;
        let view = ServerView::new(&reader, origin, head.root);
        let event = self.event_in(&reader, event_id)?;
        let keys = event.auth_events().iter().map(|id| EventKey::of(id)).collect();
        let mut chain = Vec::new();
        for key in with_auth_chain(&reader, keys)? {
            chain.push(shown(&view, key)?);
        }
        Ok(chain)
    }

    fn event_in(&self, reader: &RoomReader, event_id: &str) -> Result<Pdu> {
        reader
            .pdu(EventKey::of(event_id))?
            .filter(|pdu| RoomKey::of(pdu.room_id()) == reader.room())
            .ok_or_else(|| Error::not_found(format!("There is no event {event_id} in this room.")))
    }

    /// Events `from` and before, newest first, at most `limit`.
    pub(super) fn backfill_answer(
        &self,
        origin: &str,
        room_id: &str,
        from: &[String],
        limit: usize,
    ) -> Result<Vec<RawJson>> {
        let (reader, head) = self.shared_with_member(origin, room_id)?;
        let view = ServerView::new(&reader, origin, head.root);
        let mut queue: BTreeSet<(i64, EventKey)> = BTreeSet::new();
        for id in from {
            if let Some(pdu) = reader.pdu(EventKey::of(id))?.filter(|pdu| RoomKey::of(pdu.room_id()) == reader.room()) {
                queue.insert((pdu.depth(), pdu.key()));
            }
        }
        let mut seen: BTreeSet<EventKey> = queue.iter().map(|(_, key)| *key).collect();
        let mut events = Vec::new();
        while events.len() < limit {
            let Some((_, key)) = queue.pop_last() else { break };
            let Some(event) = placed(&view, &reader, key)? else { continue };
            events.push(RawJson::from_known(event.canonical().to_vec()));
            for prev in event.prev_events() {
                let prev = EventKey::of(prev);
                if seen.insert(prev)
                    && let Some(pdu) = reader.pdu(prev)?
                {
                    queue.insert((pdu.depth(), prev));
                }
            }
        }
        Ok(events)
    }

    /// Events between `latest` and `earliest`, oldest first, at most `limit`.
    pub(super) fn missing_events_answer(
        &self,
        origin: &str,
        room_id: &str,
        request: &federation::types::MissingEventsRequest,
    ) -> Result<Vec<RawJson>> {
        let (reader, head) = self.shared_with_member(origin, room_id)?;
        let view = ServerView::new(&reader, origin, head.root);
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let mut seen: BTreeSet<EventKey> =
            request.earliest_events.iter().chain(&request.latest_events).map(|id| EventKey::of(id)).collect();
        let mut queue: VecDeque<EventKey> = request.latest_events.iter().map(|id| EventKey::of(id)).collect();
        let mut found: BTreeMap<EventKey, Pdu> = BTreeMap::new();
        while let Some(key) = queue.pop_front() {
            let Some(pdu) = reader.pdu(key)?.filter(|pdu| RoomKey::of(pdu.room_id()) == reader.room()) else {
                continue;
            };
            for prev in pdu.prev_events() {
                let prev = EventKey::of(prev);
                if found.len() >= limit || !seen.insert(prev) {
                    continue;
                }
                if let Some(event) = placed(&view, &reader, prev)?
                    && event.depth() >= request.min_depth
                {
                    found.insert(prev, event);
                    queue.push_back(prev);
                }
            }
        }
        Ok(order_by(&found, |pdu| pdu.prev_events())
            .into_iter()
            .filter_map(|key| found.get(&key))
            .map(|pdu| RawJson::from_known(pdu.canonical().to_vec()))
            .collect())
    }

    /// One event that `origin` may see.
    pub(super) fn event_answer(&self, origin: &str, event_id: &str) -> Result<RawJson> {
        let missing = || Error::not_found(format!("There is no event {event_id} here that {origin} may see."));
        let key = EventKey::of(event_id);
        // Which room it is in, the event itself says.
        let stored = self.rooms.reader(RoomKey::of("")).stored_in_any_room(key)?.ok_or_else(missing)?;
        let room_id = self.rooms.room_id(stored.room())?.ok_or_else(missing)?;
        let (reader, head) = self.shared_with_member(origin, &room_id)?;
        let event = ServerView::new(&reader, origin, head.root).shown(key)?.ok_or_else(missing)?;
        Ok(RawJson::from_known(event.canonical().to_vec()))
    }

    /// The event nearest to a time, of those that `origin` may see.
    pub(super) fn event_at_time_answer(
        &self,
        origin: &str,
        room_id: &str,
        ts: i64,
        direction: Direction,
    ) -> Result<EventAtTime> {
        let (reader, head) = self.shared_with_member(origin, room_id)?;
        let view = ServerView::new(&reader, origin, head.root);
        let may_see = |event: &StoredEvent| match (reader.pdu(event.key())?, reader.standing(event.key())?) {
            (Some(pdu), Some(standing)) => view.may_see(&pdu, &standing),
            _ => Ok(false),
        };
        let found = timeline::nearest(&reader, ts, direction == Direction::Forwards, may_see)?
            .ok_or_else(|| Error::not_found("There is no event in that direction."))?;
        Ok(EventAtTime { event_id: found.event_id().to_owned(), origin_server_ts: found.origin_server_ts() })
    }
}

/// An event with a place in the graph, as the server is shown it.
fn placed(view: &ServerView<'_>, reader: &RoomReader, key: EventKey) -> Result<Option<Pdu>> {
    match reader.standing(key)? {
        Some(standing) if !standing.is_outlier() => view.shown(key),
        _ => Ok(None),
    }
}

/// A stored event as the server is shown it.
fn shown(view: &ServerView<'_>, key: EventKey) -> Result<RawJson> {
    let event = view.shown(key)?.ok_or_else(|| Error::internal("an event of a state cannot be shown"))?;
    Ok(RawJson::from_known(event.canonical().to_vec()))
}

fn raw(reader: &RoomReader, key: EventKey) -> Result<RawJson> {
    Ok(RawJson::from_known(reader.required_stored(key)?.canonical_bytes()))
}

/// The events of a state and of its auth chain, each as `show` gives it, which is told whether it is of the state.
fn state_and_chain(
    reader: &RoomReader,
    root: Root,
    show: impl Fn(EventKey, bool) -> Result<RawJson>,
) -> Result<(Vec<RawJson>, Vec<RawJson>)> {
    let keys = reader.state(root)?;
    let mut state = Vec::with_capacity(keys.len());
    for key in &keys {
        state.push(show(*key, true)?);
    }
    let mut chain = Vec::new();
    for key in auth_chain(reader, keys)? {
        chain.push(show(key, false)?);
    }
    Ok((state, chain))
}

/// The auth chains of `events`, without `events` themselves unless they are in one another's.
fn auth_chain(reader: &RoomReader, events: Vec<EventKey>) -> Result<BTreeSet<EventKey>> {
    let mut chain = BTreeSet::new();
    let mut queue = Vec::new();
    for key in events {
        queue.extend(reader.required(key)?.auth_events().iter().map(|id| EventKey::of(id)));
    }
    walk(reader, queue, &mut chain)?;
    Ok(chain)
}

fn with_auth_chain(reader: &RoomReader, events: Vec<EventKey>) -> Result<BTreeSet<EventKey>> {
    let mut chain = BTreeSet::new();
    walk(reader, events, &mut chain)?;
    Ok(chain)
}

fn walk(reader: &RoomReader, mut queue: Vec<EventKey>, chain: &mut BTreeSet<EventKey>) -> Result<()> {
    while let Some(key) = queue.pop() {
        if chain.len() >= MAX_AUTH_CHAIN || chain.contains(&key) {
            continue;
        }
        let Some(pdu) = reader.pdu(key)? else { continue };
        chain.insert(key);
        queue.extend(pdu.auth_events().iter().map(|id| EventKey::of(id)));
    }
    Ok(())
}

/// Whether the room's server ACL lets a server in (client-server API, "Server Access Control Lists").
pub(super) fn acl_allows(reader: &RoomReader, root: Root, server: &str) -> Result<bool> {
    let Some(acl) = reader.state_event(root, "m.room.server_acl", "")? else { return Ok(true) };
    let content = acl.content();
    // What was left of a copy that somebody has tampered with says nothing. One that was redacted lets nobody in.
    if content.is_empty() && super::judge::is_spoilt(reader, &acl)? {
        return Ok(true);
    }
    let host = match server.strip_prefix('[') {
        Some(rest) => rest.split(']').next().map(|address| format!("[{address}]")).unwrap_or_default(),
        None => server.split(':').next().unwrap_or_default().to_owned(),
    };
    let is_literal = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    if is_literal && content.get("allow_ip_literals").and_then(Value::as_bool) == Some(false) {
        return Ok(false);
    }
    let listed = |name: &str| {
        content
            .get(name)
            .and_then(Value::as_array)
            .is_some_and(|list| list.iter().filter_map(Value::as_str).any(|glob| glob_matches(glob, &host)))
    };
    Ok(!listed("deny") && listed("allow"))
}

/// `*` stands for any text, `?` for one character; case does not matter.
fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.to_ascii_lowercase(), text.to_ascii_lowercase());
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while place < text.len() {
        match glob.get(at) {
            Some(b'*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[place] => {
                at += 1;
                place += 1;
            }
            _ => match star {
                Some((star_at, from)) => {
                    star = Some((star_at, from + 1));
                    at = star_at + 1;
                    place = from + 1;
                }
                None => return false,
            },
        }
    }
    glob[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::glob_matches;

    #[test]
    fn globs_of_server_acls() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("*.example.org", "a.b.example.org", true),
            ("*.example.org", "example.org", false),
            ("ex?mple.org", "EXAMPLE.org", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
        ] {
            assert_eq!(glob_matches(glob, text), expected, "{glob} {text}");
        }
    }
}
