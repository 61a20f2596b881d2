//! What clients read of a room's history: pages (fetched from other servers where it is missing), single events and what stands around them.

use super::Peers;
use crate::error::{Error, Result};
use crate::rooms::RoomReader;
use crate::rooms::client_event::{ClientView, EventForm};
use crate::rooms::filter::EventFilter;
use crate::rooms::history::HistoryKey;
use crate::rooms::reader::damaged;
use crate::rooms::record::{StoredEvent, write_json_string};
use crate::rooms::timeline::{self, Boundary, Direction};
use crate::rooms::visibility::Viewer;
use crate::sync::SyncToken;
use serde_json::{Value, json};
use state_res::ids::{RoomKey, StateKeyId, UserKey};
use state_res::tree::{self, Root};
use std::collections::{BTreeSet, HashSet};
use std::io::Write as _;

/// Gaps filled for one page.
const MAX_BACKFILLS: usize = 3;
/// Events of a page where the client does not say.
pub const DEFAULT_PAGE: usize = 10;

/// `GET /rooms/{roomId}/messages`.
pub struct MessagesRequest<'a> {
    /// Who asks.
    pub user_id: &'a str,
    /// From which device.
    pub device_id: &'a str,
    /// The room.
    pub room_id: &'a str,
    /// Where to begin; the newest or oldest event without it.
    pub from: Option<&'a str>,
    /// Where to end.
    pub to: Option<&'a str>,
    /// Which way.
    pub direction: Direction,
    /// Most events.
    pub limit: usize,
    /// Which events.
    pub filter: &'a EventFilter,
}

impl Peers {
    /// A room as a user may page through it, which is for whoever may see what was said at some time. What they see of it
    /// is decided event by event.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`.
    pub(super) fn look_back(&self, user_id: &str, room_id: &str) -> Result<RoomReader> {
        let reader = self.rooms.reader(RoomKey::of(room_id));
        let denied = || crate::rooms::send::not_in_room(room_id);
        let head = reader.head()?.ok_or_else(denied)?;
        if Viewer::new(&reader, user_id)?.sees_some_time(&head)? { Ok(reader) } else { Err(denied()) }
    }

    /// An event about which a user asks more. Whether they may is decided by the event; only of one that they may not see it matters whether
    /// they see anything of the room.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` for who sees nothing of the room, 404 `M_NOT_FOUND`.
    pub(super) fn event_seen(
        &self,
        viewer: &Viewer<'_>,
        room_id: &str,
        event_id: &str,
    ) -> Result<(StoredEvent, HistoryKey)> {
        timeline::visible_event(viewer.reader(), viewer, event_id)
            .or_else(|missing| self.look_back(viewer.user_id(), room_id).and(Err(missing)))
    }

    pub(super) fn boundary(&self, token: Option<&str>, name: &str) -> Result<Option<Boundary>> {
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(None) };
        if let Some(boundary) = Boundary::parse(token) {
            return Ok(Some(boundary));
        }
        match SyncToken::decode(token, self.rooms.deps().store.incarnation()) {
            Ok(Some(token)) => Ok(Some(Boundary::after_position(token.position))),
            Ok(None) => Ok(None),
            Err(_) => Err(Error::invalid_param(format!("`{name}` is no token of this server."))),
        }
    }

    pub(super) fn view<'a>(
        &self,
        reader: &'a RoomReader,
        viewer: &'a Viewer<'a>,
        user_id: &str,
        device_id: &'a str,
        room_id: &'a str,
    ) -> ClientView<'a> {
        ClientView {
            reader,
            viewer,
            user: UserKey::of(user_id),
            device_id,
            now: self.rooms.deps().world.now().millis() as i64,
            room_id: Some(room_id),
            form: EventForm::default(),
        }
    }

    /// A page of history: JSON text.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`, 400 `M_INVALID_PARAM` for bad tokens.
    pub async fn messages(&self, request: &MessagesRequest<'_>) -> Result<Vec<u8>> {
        let from = self.boundary(request.from, "from")?;
        let to = self.boundary(request.to, "to")?;
        let mut backfills = 0;
        let mut past_gap = false;
        loop {
            let gap = {
                let reader = self.look_back(request.user_id, request.room_id)?;
                let viewer = Viewer::new(&reader, request.user_id)?;
                let wanted = timeline::Wanted {
                    direction: request.direction,
                    from: from.as_ref(),
                    to: to.as_ref(),
                    limit: request.limit,
                    filter: request.filter,
                    past_gap,
                };
                let page = timeline::page(&reader, &viewer, &wanted)?;
                match page.gap {
                    Some(gap) if backfills < MAX_BACKFILLS && page.events.len() < request.limit => gap,
                    _ => {
                        let view = self.view(&reader, &viewer, request.user_id, request.device_id, request.room_id);
                        let start = from.clone().unwrap_or_else(|| match request.direction {
                            Direction::Backward => Boundary::after_position(reader.snapshot().position()),
                            Direction::Forward => Boundary(Vec::new()),
                        });
                        return self.write_page(&view, &page, &start, request);
                    }
                }
            };
            backfills += 1;
            if !self.backfill(request.room_id, &gap).await? {
                // Nobody could fill it now: what lies beyond is shown all the same.
                backfills = MAX_BACKFILLS;
                past_gap = true;
            }
        }
    }

    fn write_page(
        &self,
        view: &ClientView<'_>,
        page: &timeline::Page,
        start: &Boundary,
        request: &MessagesRequest<'_>,
    ) -> Result<Vec<u8>> {
        let mut json = Vec::with_capacity(1024);
        json.extend_from_slice(b"{\"start\":");
        // "Will be the same as the value given in `from`", also where that is a sync's token.
        match request.from.filter(|from| !from.is_empty()) {
            Some(from) => write_json_string(&mut json, from),
            None => write_json_string(&mut json, &start.token()),
        }
        if let Some(end) = &page.end {
            json.extend_from_slice(b",\"end\":");
            write_json_string(&mut json, &end.token());
        }
        json.extend_from_slice(b",\"chunk\":");
        json.extend_from_slice(view.json_array(&page.events)?.as_bytes());
        if request.filter.lazy_load_members {
            let state = members_of_senders(view.reader, &page.events)?;
            json.extend_from_slice(b",\"state\":");
            json.extend_from_slice(view.json_array(&state)?.as_bytes());
        }
        json.push(b'}');
        Ok(json)
    }

    /// `GET /rooms/{roomId}/event/{eventId}`: JSON text.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND`.
    pub fn event(&self, user_id: &str, device_id: &str, room_id: &str, event_id: &str) -> Result<String> {
        let missing = || Error::not_found(format!("There is no event {event_id} in {room_id}, or you may not see it."));
        let reader = self.rooms.reader(RoomKey::of(room_id));
        let head = reader.head()?.ok_or_else(missing)?;
        let viewer = Viewer::new(&reader, user_id)?;
        let event = timeline::readable_event(&reader, &viewer, &head, event_id)?;
        self.view(&reader, &viewer, user_id, device_id, room_id).json(&event)
    }

    /// `GET /rooms/{roomId}/context/{eventId}`: JSON text.
    ///
    /// An event of the current state that has no place in what is here of the room's history (it was set before our join, or before a purge's
    /// cut) stands alone, with the current state, for who is in the room. It comes without tokens: a client that paged on from any place would
    /// take what it finds there for this event's neighbours.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`, 404 `M_NOT_FOUND`.
    pub fn context(
        &self,
        user_id: &str,
        device_id: &str,
        room_id: &str,
        event_id: &str,
        limit: usize,
        filter: &EventFilter,
    ) -> Result<Vec<u8>> {
        let reader = self.rooms.reader(RoomKey::of(room_id));
        let viewer = Viewer::new(&reader, user_id)?;
        let (event, history) = match self.event_seen(&viewer, room_id, event_id) {
            Ok(found) => found,
            Err(hidden) => {
                let Some(head) = reader.head()? else { return Err(hidden) };
                let Some(event) = timeline::current_state_event(&reader, &viewer, &head, event_id)? else {
                    return Err(hidden);
                };
                let view = self.view(&reader, &viewer, user_id, device_id, room_id);
                let around = Around { event: &event, before: &[], after: &[], root: head.root, tokens: None };
                return around.write(&view, filter);
            }
        };
        let half = limit / 2;
        let side = |direction, from: &Boundary, count: usize| {
            if count == 0 {
                return Ok(timeline::Page { events: Vec::new(), end: Some(from.clone()), gap: None });
            }
            timeline::page(
                &reader,
                &viewer,
                &timeline::Wanted { direction, from: Some(from), to: None, limit: count, filter, past_gap: true },
            )
        };
        let (before_start, after_start) = (Boundary::before(&history), Boundary::after(&history));
        let before = side(Direction::Backward, &before_start, half)?;
        let after = side(Direction::Forward, &after_start, limit.saturating_sub(half))?;
        let view = self.view(&reader, &viewer, user_id, device_id, room_id);
        let last = after.events.last().unwrap_or(&event);
        // Where a side has come to its end, paging goes on behind what was returned of it: there may be more later.
        let start = match (before.end, before.events.last()) {
            (Some(end), _) => end,
            (None, Some(first)) => Boundary::before(&placed(&reader, first)?),
            (None, None) => before_start,
        };
        let end = match (after.end, after.events.last()) {
            (Some(end), _) => end,
            (None, Some(last)) => Boundary::after(&placed(&reader, last)?),
            (None, None) => after_start,
        };
        let root = reader.standing(last.key())?.map_or(Root::EMPTY, |standing| standing.after);
        let tokens = Some((start, end));
        let around = Around { event: &event, before: &before.events, after: &after.events, root, tokens };
        around.write(&view, filter)
    }

    /// `GET /rooms/{roomId}/timestamp_to_event`.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`, 404 `M_NOT_FOUND`.
    pub fn event_at(&self, user_id: &str, room_id: &str, ts: i64, forwards: bool) -> Result<Value> {
        let reader = self.look_back(user_id, room_id)?;
        let viewer = Viewer::new(&reader, user_id)?;
        let event = timeline::nearest(&reader, ts, forwards, |event| viewer.may_see(event))?
            .ok_or_else(|| Error::not_found("There is no event in that direction."))?;
        Ok(json!({ "event_id": event.event_id(), "origin_server_ts": event.origin_server_ts() }))
    }
}

/// An event and what stands around it.
struct Around<'a> {
    event: &'a StoredEvent,
    /// Newest first.
    before: &'a [StoredEvent],
    /// Oldest first.
    after: &'a [StoredEvent],
    /// The state that is shown with them.
    root: Root,
    /// From where to page back, and on.
    tokens: Option<(Boundary, Boundary)>,
}

impl Around<'_> {
    /// JSON text.
    fn write(&self, view: &ClientView<'_>, filter: &EventFilter) -> Result<Vec<u8>> {
        let state = self.state(view, filter)?;
        let mut json = Vec::with_capacity(2048);
        json.push(b'{');
        if let Some((start, end)) = &self.tokens {
            let _ = write!(json, "\"start\":\"{}\",\"end\":\"{}\",", start.token(), end.token());
        }
        let _ = write!(json, "\"event\":{}", view.json(self.event)?);
        for (name, text) in [
            ("events_before", view.json_array(self.before)?),
            ("events_after", view.json_array(self.after)?),
            ("state", view.json_array(&state)?),
        ] {
            let _ = write!(json, ",\"{name}\":{text}");
        }
        json.push(b'}');
        Ok(json)
    }

    /// The state that `filter` lets pass, of the members only those who speak if it says so.
    fn state(&self, view: &ClientView<'_>, filter: &EventFilter) -> Result<Vec<StoredEvent>> {
        let reader = view.reader;
        let mut state = Vec::new();
        if view.room_id.is_some_and(|room_id| !filter.wants_room(room_id)) {
            return Ok(state);
        }
        let speakers = filter.lazy_load_members.then(|| {
            let events = self.before.iter().chain([self.event]).chain(self.after);
            events.map(|event| StateKeyId::of("m.room.member", &event.sender())).collect::<HashSet<_>>()
        });
        let member_prefix = StateKeyId::type_prefix("m.room.member");
        for entry in tree::entries(reader, self.root) {
            let (key, event) = entry?;
            // By their keys, so that the members who say nothing need not be read.
            let is_silent = speakers
                .as_ref()
                .is_some_and(|speakers| key.as_bytes().starts_with(&member_prefix) && !speakers.contains(&key));
            if is_silent {
                continue;
            }
            let event = reader.required_stored(event)?;
            if filter.matches(reader, &event)? {
                state.push(event);
            }
        }
        Ok(state)
    }
}

/// The place of an event that a page of history contained.
fn placed(reader: &RoomReader, event: &StoredEvent) -> Result<HistoryKey> {
    let place = reader.standing(event.key())?.and_then(|standing| standing.history);
    place.ok_or_else(|| damaged("STANDING"))
}

/// Member events of the senders of `events`, at the last of them.
fn members_of_senders(reader: &RoomReader, events: &[StoredEvent]) -> Result<Vec<StoredEvent>> {
    let Some(last) = events.last() else { return Ok(Vec::new()) };
    let root = reader.standing(last.key())?.map_or(Root::EMPTY, |standing| standing.after);
    members_in(reader, root, events)
}

/// Member events of the senders of `events`, in the state `root`.
fn members_in<'e>(
    reader: &RoomReader,
    root: Root,
    events: impl IntoIterator<Item = &'e StoredEvent>,
) -> Result<Vec<StoredEvent>> {
    let senders: BTreeSet<String> = events.into_iter().map(StoredEvent::sender).collect();
    let mut members = Vec::new();
    for sender in senders {
        if let Some(key) = reader.state_event_key(root, "m.room.member", &sender)? {
            members.push(reader.required_stored(key)?);
        }
    }
    Ok(members)
}
