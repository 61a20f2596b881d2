//! `GET /rooms/{roomId}/relations/…`: the events that relate to one.

use super::Peers;
use crate::error::Result;
use crate::rooms::RoomReader;
use crate::rooms::record::{StoredEvent, write_json_string};
use crate::rooms::relations;
use crate::rooms::timeline::{Boundary, Direction};
use crate::rooms::visibility::Viewer;
use state_res::ids::{EventKey, RoomKey};
use std::collections::HashSet;
use std::io::Write as _;

/// Levels of relations that `recurse` goes through: what relates to the event is the first.
const MAX_DEPTH: usize = 3;
/// Most looks into the store for what relates indirectly to an event.
const MAX_INDIRECT_LOOKS: usize = 20_000;

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
    /// Whether events are wanted, too, that relate to those which relate to the event, and so on; `None` where the client does not say.
    pub recurse: Option<bool>,
}

/// Events that relate to one.
struct Related {
    /// Each with its place in history.
    events: Vec<(Boundary, StoredEvent)>,
    /// How many levels of relations have been gone through in whole.
    depth: usize,
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
        let Related { events: mut found, depth } = related(&reader, &viewer, request)?;
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
        if request.recurse.is_some() {
            let _ = write!(json, ",\"recursion_depth\":{depth}");
        }
        json.push(b'}');
        Ok(json)
    }
}

/// What relates to an event as far as the viewer may see it, level by level. The filters apply at every level: what relates to an event that
/// they leave out is not found through it ("Relationships API").
fn related(reader: &RoomReader, viewer: &Viewer<'_>, request: &RelationsRequest<'_>) -> Result<Related> {
    let levels = if request.recurse == Some(true) { MAX_DEPTH } else { 1 };
    let root = EventKey::of(request.event_id);
    let mut events = Vec::new();
    let mut seen = HashSet::from([root]);
    let mut parents = vec![root];
    let mut indirect_looks = 0;
    for depth in 0..levels {
        let mut children = Vec::new();
        for parent in parents {
            // Rows and parents count alike: each is a look into the store.
            indirect_looks += usize::from(depth > 0);
            for relation in relations::of(reader, parent) {
                let relation = relation?;
                indirect_looks += usize::from(depth > 0);
                if indirect_looks > MAX_INDIRECT_LOOKS {
                    return Ok(Related { events, depth });
                }
                if request.rel_type.is_some_and(|wanted| wanted != relation.rel_type)
                    || request.event_type.is_some_and(|wanted| wanted != relation.event_type)
                    || !seen.insert(relation.child)
                {
                    continue;
                }
                if let Some(shown) = shown(reader, viewer, relation.child)? {
                    children.push(relation.child);
                    events.push(shown);
                }
            }
        }
        parents = children;
    }
    Ok(Related { events, depth: levels })
}

/// An event with its place in history, if it has one and the viewer may see it.
fn shown(reader: &RoomReader, viewer: &Viewer<'_>, event: EventKey) -> Result<Option<(Boundary, StoredEvent)>> {
    let Some(event) = reader.stored(event)?.filter(|event| event.room() == reader.room() && !event.is_redacted())
    else {
        return Ok(None);
    };
    let Some(standing) = reader.standing(event.key())? else { return Ok(None) };
    let Some(history) = &standing.history else { return Ok(None) };
    let place = Boundary::before(history);
    Ok(viewer.may_see_at(&event, &standing)?.then_some((place, event)))
}
