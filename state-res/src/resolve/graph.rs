//! The events of a room and how they cite each other, read once each.

use std::{collections::BTreeMap, rc::Rc};

use super::{Links, ResolveError, Room};
use crate::{
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
    tree,
};

/// A cache over a room for the time of one resolution.
pub(super) struct Graph<'a, R: Room> {
    room: &'a R,
    events: BTreeMap<EventKey, Pdu>,
    links: BTreeMap<EventKey, Rc<Links>>,
}

impl<'a, R: Room> Graph<'a, R> {
    pub(super) fn new(room: &'a R) -> Self {
        Graph { room, events: BTreeMap::new(), links: BTreeMap::new() }
    }

    pub(super) fn room(&self) -> &'a R {
        self.room
    }

    /// An event.
    pub(super) fn event(&mut self, key: EventKey) -> Result<Pdu, ResolveError<R::Failure>> {
        self.try_event(key)?.ok_or(ResolveError::Missing(key))
    }

    /// An event, or none if there is none.
    fn try_event(&mut self, key: EventKey) -> Result<Option<Pdu>, ResolveError<R::Failure>> {
        if let Some(event) = self.events.get(&key) {
            return Ok(Some(event.clone()));
        }
        let event = self.room.event(key).map_err(ResolveError::Fetch)?;
        if let Some(event) = &event {
            self.events.insert(key, event.clone());
        }
        Ok(event)
    }

    /// Whether an event was rejected.
    pub(super) fn is_rejected(&self, key: EventKey) -> Result<bool, ResolveError<R::Failure>> {
        self.room.is_rejected(key).map_err(ResolveError::Fetch)
    }

    /// An event's place in the graph.
    pub(super) fn links(&mut self, key: EventKey) -> Result<Rc<Links>, ResolveError<R::Failure>> {
        if let Some(known) = self.links.get(&key) {
            return Ok(known.clone());
        }
        let read = self.room.links(key).map_err(ResolveError::Fetch)?.ok_or(ResolveError::Missing(key))?;
        let links = Rc::new(read);
        self.links.insert(key, links.clone());
        Ok(links)
    }

    /// A page of the state events that cite this one; `None` without an index.
    pub(super) fn citing(
        &self,
        key: EventKey,
        after: Option<EventKey>,
        limit: usize,
    ) -> Result<Option<Vec<EventKey>>, ResolveError<R::Failure>> {
        self.room.citing(key, after, limit).map_err(ResolveError::Fetch)
    }

    /// The event that an event's `auth_events` have for this place.
    pub(super) fn cited_for(
        &mut self,
        key: EventKey,
        place: StateKeyId,
    ) -> Result<Option<EventKey>, ResolveError<R::Failure>> {
        for cited in &self.links(key)?.auth_events {
            if self.links(*cited)?.place == Some(place) {
                return Ok(Some(*cited));
            }
        }
        Ok(None)
    }

    /// The event that an event's `auth_events` have for this type and state key.
    pub(super) fn auth_event_of(
        &mut self,
        key: EventKey,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Pdu>, ResolveError<R::Failure>> {
        match self.cited_for(key, StateKeyId::of(event_type, state_key))? {
            Some(cited) => self.event(cited).map(Some),
            None => Ok(None),
        }
    }

    /// The create event that entitles an event: among its auth events, or where room ids are made of it, that of its
    /// room.
    pub(super) fn create_of(&mut self, event: &Pdu) -> Result<Option<Pdu>, ResolveError<R::Failure>> {
        if event.is_state_of("m.room.create", "") {
            return Ok(Some(event.clone()));
        }
        if event.version().rules().auth.create_in_auth_events {
            return self.auth_event_of(event.key(), "m.room.create", "");
        }
        let hash = event.room_id().get(1..).unwrap_or_default();
        self.try_event(EventKey::of(&format!("${hash}")))
    }

    /// The event under `key` in the state `root`.
    pub(super) fn in_state(
        &mut self,
        root: tree::Root,
        key: StateKeyId,
    ) -> Result<Option<EventKey>, ResolveError<R::Failure>> {
        Ok(tree::get(self.room, root, key)?)
    }
}

/// Where in a state an event belongs.
pub(super) fn place<E>(event: &Pdu) -> Result<StateKeyId, ResolveError<E>> {
    let state_key = event.state_key().ok_or(ResolveError::NotState(event.key()))?;
    Ok(StateKeyId::of(event.event_type(), state_key))
}
