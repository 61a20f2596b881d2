//! The iterative auth checks of room version 2 ("Definitions").

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ResolveError, Room,
    conflicts::Conflicts,
    graph::{Graph, place},
};
use crate::{
    auth,
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
};

/// A state on its way to being resolved.
pub(super) struct Partial<'a> {
    conflicts: &'a Conflicts,
    /// Whether the entries in which the states do not differ are part of it.
    with_unconflicted: bool,
    /// What has been applied, over those.
    pub(super) applied: BTreeMap<StateKeyId, EventKey>,
}

impl<'a> Partial<'a> {
    /// The unconflicted state map, or the empty one.
    pub(super) fn new(conflicts: &'a Conflicts, with_unconflicted: bool) -> Self {
        Partial { conflicts, with_unconflicted, applied: BTreeMap::new() }
    }

    /// The event under a key.
    pub(super) fn get<R: Room>(
        &self,
        graph: &mut Graph<'_, R>,
        key: StateKeyId,
    ) -> Result<Option<EventKey>, ResolveError<R::Failure>> {
        if let Some(event) = self.applied.get(&key) {
            return Ok(Some(*event));
        }
        if self.with_unconflicted && !self.conflicts.contains(key) {
            return graph.in_state(self.conflicts.base(), key);
        }
        Ok(None)
    }

    /// Applies those of the events that the authorisation rules allow, one after the other.
    pub(super) fn apply_allowed<R: Room>(
        &mut self,
        graph: &mut Graph<'_, R>,
        events: &[EventKey],
    ) -> Result<(), ResolveError<R::Failure>> {
        self.read_ahead(graph, events)?;
        for key in events {
            let event = graph.event(*key)?;
            let place = place(&event)?;
            let state = self.state_for(graph, &event)?;
            if auth::check(&event, &state).is_ok() {
                self.applied.insert(place, *key);
            }
        }
        Ok(())
    }

    /// Reads together what will most likely be needed one after the other: the events that no state disputes, or those cited.
    fn read_ahead<R: Room>(
        &self,
        graph: &mut Graph<'_, R>,
        events: &[EventKey],
    ) -> Result<(), ResolveError<R::Failure>> {
        graph.read_events(events.iter().copied())?;
        let mut needed = Vec::new();
        if self.with_unconflicted {
            let mut places = BTreeSet::new();
            for key in events {
                let event = graph.event(*key)?;
                let of_event = auth::state_needed(&event).into_iter().map(|(ty, key)| StateKeyId::of(ty, key));
                places.extend(of_event.filter(|place| !self.conflicts.contains(*place)));
            }
            graph.read_entries(self.conflicts.base(), places.iter().copied())?;
            for place in places {
                needed.extend(self.get(graph, place)?);
            }
        } else {
            for key in events {
                needed.extend(graph.links(*key)?.auth_events.iter().copied());
            }
            graph.read_links(needed.iter().copied())?;
        }
        graph.read_events(needed)
    }

    /// What the rules need to know for an event: from this state, and what it lacks from the event's auth events, unless
    /// they were rejected.
    fn state_for<R: Room>(&self, graph: &mut Graph<'_, R>, event: &Pdu) -> Result<Vec<Pdu>, ResolveError<R::Failure>> {
        let mut state = Vec::new();
        for (event_type, state_key) in auth::state_needed(event) {
            if let Some(key) = self.get(graph, StateKeyId::of(event_type, state_key))? {
                state.push(graph.event(key)?);
                continue;
            }
            let cited = if event_type == "m.room.create" {
                graph.create_of(event)?
            } else {
                graph.auth_event_of(event.key(), event_type, state_key)?
            };
            if let Some(cited) = cited
                && !graph.is_rejected(cited.key())?
            {
                state.push(cited);
            }
        }
        Ok(state)
    }
}
