//! One room in a sync.

use super::timeline::{self, Timeline};
use crate::accounts::filters::RoomFilter;
use crate::error::Result;
use crate::rooms::client_event::{ClientView, EventForm};
use crate::rooms::facts::Facts;
use crate::rooms::latest::{Entry, Latest};
use crate::rooms::memberships::UserRoom;
use crate::rooms::record::StoredEvent;
use crate::rooms::timeline::Boundary;
use crate::rooms::visibility::Viewer;
use crate::rooms::{Membership, RoomReader};
use serde_json::json;
use state_res::ids::{EventKey, StateKeyId, UserKey};
use state_res::tree::{self, Root};
use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::sync::Arc;
use storage::Position;

/// Events of a room's timeline in one answer, where the filter does not say.
const DEFAULT_TIMELINE_LIMIT: u64 = 20;
/// Most events of a room's timeline in one answer.
const MAX_TIMELINE_LIMIT: u64 = 500;

fn timeline_limit(filter: &RoomFilter) -> usize {
    // At most 500, which fits.
    filter.timeline.events.limit.unwrap_or(DEFAULT_TIMELINE_LIMIT).min(MAX_TIMELINE_LIMIT) as usize
}

/// How a room is looked at.
pub struct RoomSync<'a> {
    /// The room.
    pub reader: &'a RoomReader,
    /// The user's row for it.
    pub row: &'a UserRoom,
    /// The user.
    pub user_id: &'a str,
    /// Their key.
    pub user: UserKey,
    /// The device.
    pub device_id: &'a str,
    /// The filter.
    pub filter: &'a RoomFilter,
    /// How events are written.
    pub form: EventForm<'a>,
    /// What the client has seen of the room; `None` for nothing, so that it is shown from scratch.
    pub since: Option<Position>,
    /// A position at which the user had left the room, where they are back since.
    pub left_by: Option<Position>,
    /// Up to where this answer goes.
    pub until: Position,
    /// Users of whom only state is shown.
    pub ignored: &'a HashSet<String>,
    /// All state, whatever the client has seen.
    pub full_state: bool,
    /// State at the end of the timeline rather than at its start.
    pub state_after: bool,
    /// Now, in milliseconds.
    pub now: i64,
}

impl RoomSync<'_> {
    /// The one event that ended an invite, a knock or nothing at all, for who was not in the room before it. What is written is as for
    /// [`Self::write`].
    pub fn write_only_own_end(&self, out: &mut Vec<u8>, viewer: &Viewer<'_>) -> Result<()> {
        let boundary = Boundary::after_position(self.until);
        let mut timeline =
            Timeline { events: Vec::new(), limited: false, prev_batch: boundary, start: Root::EMPTY, kept: None };
        let wanted = |event: &StoredEvent| {
            Ok(self.filter.timeline.wants_room(&self.row.room_id)
                && self.filter.timeline.matches(self.reader, event)?)
        };
        self.add_own_end(&mut timeline, &wanted, 1)?;
        self.write_timeline(out, &self.view(viewer), &timeline)?;
        out.extend_from_slice(self.state_name());
        out.extend_from_slice(b"[]}");
        Ok(())
    }

    /// Appends what comes from events, `"timeline":{…},"state":{…},"summary":{…}` without braces around them. Gives whether there was
    /// anything to tell.
    pub fn write(&self, out: &mut Vec<u8>, viewer: &Viewer<'_>) -> Result<bool> {
        let limit = timeline_limit(self.filter);
        let wants_room = self.filter.timeline.wants_room(&self.row.room_id);
        let wanted = |event: &StoredEvent| {
            Ok(wants_room
                && self.filter.timeline.matches(self.reader, event)?
                && (self.ignored.is_empty() || event.is_state() || !self.ignored.contains(&event.sender())))
        };
        let mut timeline = match (self.since, self.left_by) {
            (Some(since), _) => timeline::since(self.reader, viewer, &wanted, since, self.until, limit)?,
            // What was told before the user left is not told again.
            (None, Some(left_by)) => {
                let timeline = timeline::since(self.reader, viewer, &wanted, left_by, self.until, limit)?;
                Timeline { limited: true, ..timeline }
            }
            (None, None) => timeline::latest(self.reader, viewer, &wanted, self.until, limit)?,
        };
        self.add_own_end(&mut timeline, &wanted, limit)?;
        let from = match self.since {
            Some(since) if !self.full_state => Some(self.reader.root_at(since)?),
            _ => None,
        };
        let now_root = self.reader.root_at(self.until)?;
        let state = self.state(&timeline, from, now_root)?;
        let view = self.view(viewer);
        self.write_timeline(out, &view, &timeline)?;
        out.extend_from_slice(self.state_name());
        write_events(out, &view, &state)?;
        out.push(b'}');

        let changed = from.is_none_or(|from| from != now_root) && self.summary_changed(from, now_root)?;
        if changed && self.row.membership == Membership::Join {
            out.extend_from_slice(b",\"summary\":");
            out.extend_from_slice(summary(self, timeline.kept.as_deref(), now_root)?.to_string().as_bytes());
        }
        Ok(!timeline.events.is_empty() || !state.is_empty() || timeline.limited || self.since.is_none())
    }

    fn view<'v>(&'v self, viewer: &'v Viewer<'v>) -> ClientView<'v> {
        ClientView {
            reader: self.reader,
            viewer,
            user: self.user,
            device_id: self.device_id,
            now: self.now,
            room_id: None,
            form: self.form,
        }
    }

    fn write_timeline(&self, json: &mut Vec<u8>, view: &ClientView<'_>, timeline: &Timeline) -> Result<()> {
        json.extend_from_slice(b"\"timeline\":{\"events\":");
        write_events(json, view, &timeline.events)?;
        let _ = write!(json, ",\"limited\":{},\"prev_batch\":\"{}\"}}", timeline.limited, timeline.prev_batch.token());
        Ok(())
    }

    /// Begins the state under the name that the client looks for.
    fn state_name(&self) -> &'static [u8] {
        if self.state_after { b",\"state_after\":{\"events\":" } else { b",\"state\":{\"events\":" }
    }

    /// The event that ended a membership belongs to the left room's timeline, also for who was never joined and sees no other.
    fn add_own_end(
        &self,
        timeline: &mut Timeline,
        wanted: &dyn Fn(&StoredEvent) -> Result<bool>,
        limit: usize,
    ) -> Result<()> {
        if !matches!(self.row.membership, Membership::Leave | Membership::Ban) {
            return Ok(());
        }
        let Some(event) = self.row.event else { return Ok(()) };
        if timeline.events.iter().any(|known| known.event.key() == event) {
            return Ok(());
        }
        let Some(facts) = self.reader.facts_of_any(event)? else { return Ok(()) };
        if wanted(&facts.event)? {
            timeline.events.push(facts);
            let surplus = timeline.events.len().saturating_sub(limit.max(1));
            timeline.events.drain(..surplus);
            if surplus > 0
                && let Some(standing) = timeline.events.first().map(|first| &first.standing)
                && let Some(place) = &standing.history
            {
                (timeline.limited, timeline.start) = (true, standing.before);
                timeline.prev_batch = Boundary::before(place);
            }
        }
        Ok(())
    }

    /// Whether members, or what the room is called, changed between two states (or may have, without a first one).
    fn summary_changed(&self, from: Option<Root>, to: Root) -> Result<bool> {
        let Some(from) = from else { return Ok(true) };
        let prefix = StateKeyId::type_prefix("m.room.member");
        let names = [StateKeyId::of("m.room.name", ""), StateKeyId::of("m.room.canonical_alias", "")];
        let matters = |key: &StateKeyId| key.as_bytes().starts_with(&prefix) || names.contains(key);
        Ok(tree::diff(self.reader, from, to)?.iter().any(|change| matters(&change.key)))
    }

    /// State events to send: what changed between `from` (or everything, without one) and the start of the timeline (or its end, with
    /// `state_after`).
    fn state(&self, timeline: &Timeline, from: Option<Root>, now: Root) -> Result<Vec<Arc<Facts>>> {
        if !self.filter.state.wants_room(&self.row.room_id) {
            return Ok(Vec::new());
        }
        let to = if self.state_after { now } else { timeline.start };
        let candidates = if from == Some(to) && to == now {
            if self.filter.state.lazy_load_members { self.speakers(timeline, to)? } else { Vec::new() }
        } else if from.is_none()
            && (self.state_after || timeline.start == now)
            && let Some(kept) = &timeline.kept
            && let Some(all) = kept.state(self.reader, to)?
        {
            self.kept(timeline, all, now)?
        } else {
            self.changed(timeline, from, to, now)?
        };
        let mut state = Vec::with_capacity(candidates.len());
        for facts in candidates {
            // State before the timeline leaves out what the timeline shows.
            let is_shown = !self.state_after && timeline.shows(&facts);
            if !is_shown && self.filter.state.matches(self.reader, &facts.event)? {
                state.push(facts);
            }
        }
        state.sort_by_key(|facts| facts.order_in_state());
        Ok(state)
    }

    /// Where nothing changed: the members who speak in the timeline, as they are in the state `root`.
    fn speakers(&self, timeline: &Timeline, root: Root) -> Result<Vec<Arc<Facts>>> {
        let mut members: Vec<Arc<Facts>> = Vec::new();
        for facts in &timeline.events {
            let member = if facts.standing.before == root {
                facts.sender_member(self.reader)?
            } else {
                self.reader.state_event_key(root, "m.room.member", &facts.event.sender())?
            };
            if let Some(member) = member.filter(|member| !members.iter().any(|known| known.event.key() == *member)) {
                members.push(self.reader.required_facts(member)?);
            }
        }
        Ok(members)
    }

    /// Where all of the state is kept in memory, with its keys, and the client knows none of it.
    fn kept(&self, timeline: &Timeline, all: &[Entry], now: Root) -> Result<Vec<Arc<Facts>>> {
        let members = self.members_to_begin_with(timeline, now)?;
        let member_prefix = StateKeyId::type_prefix("m.room.member");
        let is_wanted = |key: &StateKeyId, facts: &Facts| match &members {
            Some(members) if key.as_bytes().starts_with(&member_prefix) => {
                facts.event.state_key().is_some_and(|member| members.contains(&member))
            }
            _ => true,
        };
        Ok(all.iter().filter(|(key, facts)| is_wanted(key, facts)).map(|(_, facts)| Arc::clone(facts)).collect())
    }

    /// What a client that has seen the state `from`, or none, has to be told of the state `to`.
    fn changed(&self, timeline: &Timeline, from: Option<Root>, to: Root, now: Root) -> Result<Vec<Arc<Facts>>> {
        let mut wanted: HashMap<StateKeyId, EventKey> = HashMap::new();
        self.changes(from, to, &mut wanted)?;
        if !self.state_after && timeline.start != now {
            // State may have changed by resolution, without an event of the timeline that says so.
            let mut told: HashSet<StateKeyId> = HashSet::new();
            for facts in &timeline.events {
                if let Some(state_key) = facts.event.state_key() {
                    told.insert(StateKeyId::of(&facts.event.event_type(), &state_key));
                }
            }
            let mut later = HashMap::new();
            self.changes(Some(timeline.start), now, &mut later)?;
            wanted.extend(later.into_iter().filter(|(key, _)| !told.contains(key)));
        }
        if from.is_some() {
            if self.filter.state.lazy_load_members {
                // Beside all changes: who follows the timeline alone would not see those that it leaves out.
                for facts in &timeline.events {
                    let key = StateKeyId::of("m.room.member", &facts.event.sender());
                    if let Some(event) = tree::get(self.reader, to, key)? {
                        wanted.insert(key, event);
                    }
                }
            }
        } else if let Some(members) = self.members_to_begin_with(timeline, now)? {
            // By their keys, so that the others need not be read.
            let members: HashSet<_> = members.iter().map(|member| StateKeyId::of("m.room.member", member)).collect();
            let member_prefix = StateKeyId::type_prefix("m.room.member");
            wanted.retain(|key, _| !key.as_bytes().starts_with(&member_prefix) || members.contains(key));
        }
        wanted.into_values().map(|event| self.reader.required_facts(event)).collect()
    }

    /// The members that a client which knows none yet is told of; `None` for all of them.
    fn members_to_begin_with(&self, timeline: &Timeline, now: Root) -> Result<Option<HashSet<String>>> {
        if !self.filter.state.lazy_load_members {
            return Ok(None);
        }
        let mut members: HashSet<String> = timeline.events.iter().map(|facts| facts.event.sender()).collect();
        members.insert(self.user_id.to_owned());
        members.extend(heroes(self, timeline.kept.as_deref(), now)?);
        Ok(Some(members))
    }

    fn changes(&self, from: Option<Root>, to: Root, into: &mut HashMap<StateKeyId, EventKey>) -> Result<()> {
        match from {
            None => {
                for entry in tree::entries(self.reader, to) {
                    let (key, event) = entry?;
                    into.insert(key, event);
                }
            }
            Some(from) => {
                for change in tree::diff(self.reader, from, to)? {
                    if let Some(event) = change.right {
                        into.insert(change.key, event);
                    }
                }
            }
        }
        Ok(())
    }
}

fn write_events(out: &mut Vec<u8>, view: &ClientView<'_>, events: &[Arc<Facts>]) -> Result<()> {
    out.push(b'[');
    for (index, facts) in events.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        view.write(out, facts)?;
    }
    out.push(b']');
    Ok(())
}

/// Users after whom a nameless room is named: the first five members beside the user, joined and invited ones first.
fn heroes(sync: &RoomSync<'_>, kept: Option<&Latest>, root: Root) -> Result<Vec<String>> {
    let RoomSync { reader, user_id, .. } = *sync;
    let named = |kind: &str, member: &str| -> Result<bool> {
        Ok(reader
            .state_event(root, kind, "")?
            .and_then(|pdu| pdu.content().get(member)?.as_str().map(|text| !text.is_empty()))
            .unwrap_or(false))
    };
    let find = || Ok(named("m.room.name", "name")? || named("m.room.canonical_alias", "alias")?);
    if kept.map_or_else(find, |kept| kept.is_named(root, find))? {
        return Ok(Vec::new());
    }
    let mut present = Vec::new();
    let mut gone = Vec::new();
    for member in reader.members()? {
        if member.user_id == user_id {
            continue;
        }
        let Some(facts) = reader.facts_of_any(member.event)? else { continue };
        let list = match member.membership {
            Membership::Join | Membership::Invite => &mut present,
            Membership::Leave | Membership::Ban => &mut gone,
            Membership::Knock => continue,
        };
        list.push((facts.standing.position, facts.standing.ordinal, member.user_id));
    }
    let mut list = if present.is_empty() { gone } else { present };
    list.sort();
    Ok(list.into_iter().take(5).map(|(_, _, user)| user).collect())
}

/// `RoomSummary`.
fn summary(sync: &RoomSync<'_>, kept: Option<&Latest>, root: Root) -> Result<serde_json::Value> {
    let counts = sync.reader.member_counts(root)?;
    let mut summary = json!({ "m.joined_member_count": counts.joined, "m.invited_member_count": counts.invited });
    let heroes = heroes(sync, kept, root)?;
    if !heroes.is_empty() {
        summary["m.heroes"] = json!(heroes);
    }
    Ok(summary)
}

/// Types of state that an invited user is shown (client-server API, "Stripped state").
pub const STRIPPED_TYPES: [&str; 7] = [
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
];

/// The stripped state of a room we hold, for an invite or knock whose member event is `member`: JSON array.
pub fn stripped_state(reader: &RoomReader, root: Root, member: Option<EventKey>) -> Result<String> {
    let mut events = Vec::new();
    for kind in STRIPPED_TYPES {
        if let Some(key) = reader.state_event_key(root, kind, "")? {
            events.push(reader.required_stored(key)?.stripped());
        }
    }
    if let Some(member) = member {
        let member = reader.required_stored(member)?;
        let sender = member.sender();
        if Some(sender.as_str()) != member.state_key().as_deref()
            && let Some(inviter) = reader.state_event_key(root, "m.room.member", &sender)?
        {
            events.push(reader.required_stored(inviter)?.stripped());
        }
        let mut stripped = member.stripped();
        stripped["event_id"] = json!(member.event_id());
        stripped["origin_server_ts"] = json!(member.origin_server_ts());
        events.push(stripped);
    }
    Ok(serde_json::Value::Array(events).to_string())
}
