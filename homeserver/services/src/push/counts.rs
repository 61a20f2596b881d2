//! Counting what is unread: the events after a user's receipts that their push rules notify them of.
//!
//! Counted when a sync asks, never when an event is written: writing must not cost more the more people are in a room. What has been
//! counted is remembered, so that each event is looked at once per user.

use super::Push;
use crate::error::Result;
use crate::names::MAIN_THREAD;
use crate::rooms::announced::Announced;
use crate::rooms::head::Head;
use crate::rooms::memberships::{self, UserRoom};
use crate::rooms::relations::thread_of;
use crate::rooms::visibility::Viewer;
use crate::rooms::{Membership, RoomReader, user_topic};
use crate::sync::{Unread, UnreadCounts};
use bytes::Bytes;
use ruma_common::OwnedRoomId;
use ruma_common::power_levels::NotificationPowerLevels;
use ruma_common::push::{PushConditionPowerLevelsCtx, PushConditionRoomCtx, Ruleset};
use serde_json::Value;
use state_res::ids::{EventKey, UserKey};
use state_res::tree::Root;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use storage::{Position, Snapshot};

/// Most events looked at for one count; what lies further back is not counted.
const MAX_EVENTS: usize = 2_000;

/// Most counted events of a user in a room that are remembered one by one.
const MAX_NOTIFIED: usize = 32;

/// A place in a room's timeline.
pub(super) type Place = (Position, u16);

/// Up to where a user has read: the whole room by `None`, the main timeline by `main`, threads by their root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places(BTreeMap<Option<String>, Place>);

impl Places {
    /// Whether the event at `place` in a thread (`None` for none) has been read.
    pub(super) fn covers(&self, place: Place, thread: Option<String>) -> bool {
        let read = |thread: &Option<String>| self.0.get(thread).is_some_and(|read| place <= *read);
        read(&None) || read(&Some(thread.unwrap_or_else(|| MAIN_THREAD.to_owned())))
    }
}

/// What has been counted for a user in a room.
#[derive(Clone, Default)]
pub(super) struct Counted {
    /// Receipts that the counts are based on.
    read: Places,
    /// Up to where events were looked at.
    upto: Position,
    /// Notifications and highlights by thread; `None` for the main timeline.
    threads: BTreeMap<Option<String>, (u64, u64)>,
    /// Of the events that were counted, the newest: so that one that is redacted counts no more.
    notified: VecDeque<Notified>,
    /// The rules that were applied, and whose events were left out.
    rules: Option<Arc<Ruleset>>,
    ignored: Arc<HashSet<String>>,
    /// As of where other rules last made other counts of the same events.
    judged_anew: Position,
    /// The state in which the room was last, and the room as the user's rules see it in that state, where they had to be asked.
    context: Option<(Root, Option<Arc<PushConditionRoomCtx>>)>,
}

/// An event that was counted.
#[derive(Clone)]
struct Notified {
    event: EventKey,
    thread: Option<String>,
    highlight: bool,
}

impl Counted {
    /// Nothing, as of what the user has read.
    fn from(read: Places) -> Self {
        let start = read.0.values().map(|place| place.0).min().unwrap_or(0);
        Self { upto: start.saturating_sub(1), read, ..Self::default() }
    }

    fn add(&mut self, event: EventKey, thread: Option<String>, highlight: bool) {
        let counts = self.threads.entry(thread.clone()).or_default();
        counts.0 += 1;
        counts.1 += u64::from(highlight);
        if self.notified.len() >= MAX_NOTIFIED {
            self.notified.pop_front();
        }
        self.notified.push_back(Notified { event, thread, highlight });
    }

    /// As syncs tell it.
    fn unread(&self, by_thread: bool) -> Unread {
        let mut unread = Unread { judged_anew: self.judged_anew, ..Unread::default() };
        for (thread, (notifications, highlights)) in &self.threads {
            match thread {
                Some(root) if by_thread => {
                    if *notifications > 0 {
                        unread.threads.insert(root.clone(), (*notifications, *highlights));
                    }
                }
                _ => {
                    unread.notifications += notifications;
                    unread.highlights += highlights;
                }
            }
        }
        unread
    }

    fn same_counts(&self, other: &Self) -> bool {
        let some = |counted: &Self| {
            let some = counted.threads.iter().filter(|(_, counts)| **counts != (0, 0));
            some.map(|(thread, counts)| (thread.clone(), *counts)).collect::<Vec<_>>()
        };
        some(self) == some(other)
    }

    /// All of a thread has been read.
    fn forget(&mut self, thread: &Option<String>) {
        self.threads.remove(thread);
        self.notified.retain(|notified| notified.thread != *thread);
    }

    /// An event has been redacted.
    fn take_back(&mut self, event: EventKey) {
        let Some(at) = self.notified.iter().position(|notified| notified.event == event) else { return };
        let Some(notified) = self.notified.remove(at) else { return };
        if let Some(counts) = self.threads.get_mut(&notified.thread) {
            counts.0 = counts.0.saturating_sub(1);
            counts.1 = counts.1.saturating_sub(u64::from(notified.highlight));
        }
    }
}

/// A room in one state, as push rules see it.
pub(super) struct RoomContext {
    root: Root,
    room_id: OwnedRoomId,
    members: u32,
    power_levels: Option<PushConditionPowerLevelsCtx>,
}

impl UnreadCounts for Push {
    fn default_rules(&self, snapshot: &Snapshot, user_id: &str) -> Result<Option<Bytes>> {
        if !self.are_default(snapshot, user_id)? {
            return Ok(None);
        }
        // They follow from the user's id alone.
        let user = UserKey::of(user_id);
        if let Some(known) = self.defaults.lock().get(&user) {
            return Ok(Some(known.clone()));
        }
        let content = Bytes::from(self.content(snapshot, user_id)?.to_string());
        self.defaults.lock().put(user, content.clone());
        Ok(Some(content))
    }

    fn unread(&self, viewer: &Viewer<'_>, ignored: &Arc<HashSet<String>>, by_thread: bool) -> Result<Unread> {
        let (reader, user) = (viewer.reader(), viewer.user());
        let until = reader.snapshot().position();
        let entry = Arc::clone(self.counts.lock().get_or_insert((user, reader.room()), Arc::default));
        let mut known = entry.lock();
        if known.as_ref().is_some_and(|known| known.upto > until) {
            // Another device was faster, and what it saw is not to be told here yet.
            return Ok(self.count_all(viewer, ignored, None, until)?.unread(by_thread));
        }
        // Receipts and memberships of the user's touch their topic: where that was left alone, they have read what they had read.
        let touched = self.store.untouched_since(user_topic(user));
        let counted = match known.take() {
            Some(counted) if touched <= counted.upto => {
                if counted.upto < until && !reader.is_quiet_after(counted.upto)? {
                    self.count(viewer, ignored, counted, until)?
                } else {
                    counted
                }
            }
            former => self.count_all(viewer, ignored, former, until)?,
        };
        let unread = counted.unread(by_thread);
        *known = Some(counted);
        Ok(unread)
    }
}

impl Push {
    /// Counts everything after what the user has read; only what is new where `former` was counted from the same.
    fn count_all(
        &self,
        viewer: &Viewer<'_>,
        ignored: &Arc<HashSet<String>>,
        former: Option<Counted>,
        until: Position,
    ) -> Result<Counted> {
        let (reader, user_id) = (viewer.reader(), viewer.user_id());
        let read = self.read_places(reader, user_id)?;
        let rules = self.ruleset(reader.snapshot(), user_id)?.rules;
        let same = |counted: &Counted| {
            counted.read == read
                && counted.ignored == *ignored
                && counted.rules.as_ref().is_none_or(|known| Arc::ptr_eq(known, &rules))
        };
        match former {
            Some(counted) if same(&counted) => self.count(viewer, ignored, counted, until),
            former => self.count_anew(viewer, ignored, former, read, until),
        }
    }

    /// Up to where a user has read. What came before they joined counts as read.
    pub(super) fn read_places(&self, reader: &RoomReader, user_id: &str) -> Result<Places> {
        let mut places: BTreeMap<Option<String>, Place> = BTreeMap::new();
        let mut raise = |thread: Option<String>, place: Place| {
            let known = places.entry(thread).or_default();
            *known = (*known).max(place);
        };
        raise(None, (0, 0));
        if let Some(row) = memberships::of_user_in(reader.snapshot(), UserKey::of(user_id), reader.room())?
            && let Some(joined) = joined_at(reader, &row)?
        {
            raise(None, joined);
        }
        for receipt in self.ephemeral.receipts_of(reader.snapshot(), reader.room(), user_id)? {
            let Some(standing) = reader.standing(EventKey::of(&receipt.event_id))? else { continue };
            raise(receipt.thread, (standing.position, standing.ordinal));
        }
        Ok(Places(places))
    }

    /// Counts everything after what the user has read, where what they had read was another place, or their rules were others; `former` is what
    /// is remembered of that.
    fn count_anew(
        &self,
        viewer: &Viewer<'_>,
        ignored: &Arc<HashSet<String>>,
        former: Option<Counted>,
        read: Places,
        until: Position,
    ) -> Result<Counted> {
        // Receipts are told anyway; of what nobody remembers it is not known whether it was the same.
        let comparable = former.filter(|former| former.read == read);
        let mut counted = self.count(viewer, ignored, Counted::from(read), until)?;
        counted.judged_anew = match comparable {
            Some(former) if former.same_counts(&counted) => former.judged_anew,
            None if counted.rules.is_none() => 0,
            _ => until,
        };
        Ok(counted)
    }

    fn count(
        &self,
        viewer: &Viewer<'_>,
        ignored: &Arc<HashSet<String>>,
        mut counted: Counted,
        until: Position,
    ) -> Result<Counted> {
        let (reader, user_id) = (viewer.reader(), viewer.user_id());
        if counted.upto >= until {
            return Ok(counted);
        }
        let rows: Vec<Announced> = reader.announced(counted.upto, until)?.take(MAX_EVENTS).collect::<Result<_>>()?;
        counted.upto = until;
        if rows.is_empty() {
            return Ok(counted);
        }
        let rules = self.ruleset(reader.snapshot(), user_id)?;
        (counted.rules, counted.ignored) = (Some(Arc::clone(&rules.rules)), Arc::clone(ignored));
        let root = reader.root_at(until)?;
        let mut context = match counted.context.take() {
            Some((known, context)) if known == root => context,
            _ => {
                // Most events are judged without what follows from the head; of a room whose head cannot be read nothing is told all the same.
                reader.head()?;
                None
            }
        };
        for row in rows.iter().rev() {
            let place = (row.position, row.ordinal);
            let facts = reader.required_facts(row.event)?;
            let stored = &facts.event;
            let thread = thread_of(reader, stored)?;
            let sender = stored.sender();
            if let Some(target) = stored.redaction_target() {
                let target = EventKey::of(&target);
                if reader.stored(target)?.is_some_and(|target| target.is_redacted()) {
                    counted.take_back(target);
                }
            }
            if sender == user_id {
                // Sending marks what came before as read ("Marking notifications as read").
                if !stored.is_state() {
                    counted.forget(&thread);
                }
                continue;
            }
            if stored.is_redacted() || ignored.contains(&sender) || !viewer.may_see_at(stored, &facts.standing)? {
                continue;
            }
            if counted.read.covers(place, thread.clone()) {
                continue;
            }
            let seen = || {
                if context.is_none() {
                    context = self.context(reader, user_id)?.map(Arc::new);
                }
                Ok(context.clone())
            };
            let Some(verdict) = self.verdict_for(&rules, stored, root, seen)? else { continue };
            if verdict.notify {
                counted.add(row.event, thread, verdict.highlight);
            }
        }
        counted.context = Some((root, context));
        Ok(counted)
    }

    /// The room as rules see it for one user; `None` for ids that the rules' library does not take.
    pub(super) fn context(&self, reader: &RoomReader, user_id: &str) -> Result<Option<PushConditionRoomCtx>> {
        let Some(head) = reader.head()? else { return Ok(None) };
        let Some(room) = self.room_context(reader, &head)? else { return Ok(None) };
        let Ok(user) = user_id.try_into() else { return Ok(None) };
        let member = reader.state_event(head.root, "m.room.member", user_id)?;
        let name = member
            .as_ref()
            .and_then(|pdu| pdu.content().get("displayname")?.as_str())
            .map_or_else(|| crate::names::localpart_of(user_id).unwrap_or_default().to_owned(), str::to_owned);
        let mut context = PushConditionRoomCtx::new(room.room_id.clone(), room.members.into(), user, name);
        context.power_levels.clone_from(&room.power_levels);
        Ok(Some(context))
    }

    /// What is the same for all users of the room.
    fn room_context(&self, reader: &RoomReader, head: &Head) -> Result<Option<Arc<RoomContext>>> {
        let known = self.contexts.lock().get(&reader.room()).cloned();
        if let Some(known) = known.filter(|known| known.root == head.root) {
            return Ok(Some(known));
        }
        let Some(create) = reader.state_event(head.root, "m.room.create", "")? else { return Ok(None) };
        let Ok(room_id) = create.room_id().try_into() else { return Ok(None) };
        let context = Arc::new(RoomContext {
            root: head.root,
            room_id,
            members: u32::try_from(reader.member_counts(head.root)?.joined).unwrap_or(u32::MAX),
            power_levels: power_levels(reader, head.root, head.room_version, &create)?,
        });
        self.contexts.lock().put(reader.room(), Arc::clone(&context));
        Ok(Some(context))
    }
}

/// Where a user became joined to a room that they are in.
pub(super) fn joined_at(reader: &RoomReader, row: &UserRoom) -> Result<Option<Place>> {
    match (row.membership, row.previous, row.event) {
        // Their row is of what they changed since, their name perhaps.
        (Membership::Join, Some(Membership::Join), Some(event)) => {
            Ok(memberships::last_join(reader, event)?.map(|joined| (joined.position, joined.ordinal)))
        }
        (Membership::Join, ..) => Ok(Some((row.position, row.ordinal))),
        _ => Ok(None),
    }
}

fn power_levels(
    reader: &RoomReader,
    root: Root,
    version: state_res::room_version::RoomVersion,
    create: &state_res::pdu::Pdu,
) -> Result<Option<PushConditionPowerLevelsCtx>> {
    let content = match reader.state_event(root, "m.room.power_levels", "")? {
        Some(levels) => levels.content().clone(),
        None => serde_json::Map::new(),
    };
    let integer = |value: &Value| {
        value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()).and_then(|level| level.try_into().ok())
    };
    let mut users = BTreeMap::new();
    for (user, level) in content.get("users").and_then(Value::as_object).into_iter().flatten() {
        if let (Ok(user), Some(level)) = (user.as_str().try_into(), integer(level)) {
            users.insert(user, level);
        }
    }
    let default = content.get("users_default").and_then(integer).unwrap_or_default();
    let mut notifications = NotificationPowerLevels::new();
    if let Some(level) = content.get("notifications").and_then(|levels| levels.get("room")).and_then(integer) {
        notifications.room = level;
    }
    let Some(rules) = ruma_common::RoomVersionId::try_from(version.as_str()).ok().and_then(|id| id.rules()) else {
        return Ok(None);
    };
    let creators = state_res::auth::creators(create).filter_map(|user| user.try_into().ok());
    let rules = ruma_common::room_version_rules::RoomPowerLevelsRules::new(&rules.authorization, creators);
    Ok(Some(PushConditionPowerLevelsCtx::new(users, default, notifications, rules)))
}
