//! `GET /rooms/{roomId}/relations/…`: the events that relate to one.

use super::Peers;
use crate::error::Result;
use crate::rooms::record::{StoredEvent, write_json_string};
use crate::rooms::relations;
use crate::rooms::timeline::{Boundary, Direction};
use crate::rooms::visibility::Viewer;
use state_res::ids::{EventKey, RoomKey};
use std::io::Write as _;

/// `GET /rooms/{roomId}/relations/…`.
pub struct RelationsRequest<'a> {
    /// Who asks.
    pub user_id: &'a str,
    /// From which device.
    pub device_id: &'a str,
    /// The room.
    pub room_id: &'a str,
    /// The event to which the others relate.
    pub event_id: &'a str,
    /// Only relations of this type.
    pub rel_type: Option<&'a str>,
    /// Only events of this type.
    pub event_type: Option<&'a str>,
    /// Where to begin.
    pub from: Option<&'a str>,
    /// Where to end.
    pub to: Option<&'a str>,
    /// Which way.
    pub direction: Direction,
    /// Most events.
    pub limit: usize,
}

impl Peers {
    /// `GET /rooms/{roomId}/relations/{eventId}/…`: JSON text.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`, 404 `M_NOT_FOUND`, 400 `M_INVALID_PARAM`.
    pub fn relations(&self, request: &RelationsRequest<'_>) -> Result<Vec<u8>> {
        let reader = self.rooms.reader(RoomKey::of(request.room_id));
        let viewer = Viewer::new(&reader, request.user_id)?;
        self.event_seen(&viewer, request.room_id, request.event_id)?;
        let from = self.boundary(request.from, "from")?;
        let to = self.boundary(request.to, "to")?;
        let mut found: Vec<(Boundary, StoredEvent)> = Vec::new();
        for relation in relations::of(&reader, EventKey::of(request.event_id)) {
            let relation = relation?;
            if request.rel_type.is_some_and(|wanted| wanted != relation.rel_type)
                || request.event_type.is_some_and(|wanted| wanted != relation.event_type)
            {
                continue;
            }
            let Some(event) =
                reader.stored(relation.child)?.filter(|event| event.room() == reader.room() && !event.is_redacted())
            else {
                continue;
            };
            let Some(standing) = reader.standing(event.key())? else { continue };
            let Some(history) = &standing.history else { continue };
            let place = Boundary::before(history);
            if viewer.may_see_at(&event, &standing)? {
                found.push((place, event));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let backward = request.direction == Direction::Backward;
        if backward {
            found.reverse();
        }
        let within = |place: &Boundary| {
            if backward {
                from.as_ref().is_none_or(|from| place < from) && to.as_ref().is_none_or(|to| place >= to)
            } else {
                from.as_ref().is_none_or(|from| place >= from) && to.as_ref().is_none_or(|to| place < to)
            }
        };
        found.retain(|(place, _)| within(place));
        let more = found.len() > request.limit;
        found.truncate(request.limit);
        let next = found.last().filter(|_| more).map(|(place, _)| {
            let mut place = place.clone();
            if !backward {
                place.0.push(0);
            }
            place
        });
        let events: Vec<StoredEvent> = found.into_iter().map(|(_, event)| event).collect();
        let view = self.view(&reader, &viewer, request.user_id, request.device_id, request.room_id);
        let mut json = Vec::new();
        let _ = write!(json, "{{\"chunk\":{}", view.json_array(&events)?);
        if let Some(next) = next {
            let _ = write!(json, ",\"next_batch\":\"{}\"", next.token());
        }
        if let Some(from) = request.from {
            json.extend_from_slice(b",\"prev_batch\":");
            write_json_string(&mut json, from);
        }
        json.push(b'}');
        Ok(json)
    }
}
