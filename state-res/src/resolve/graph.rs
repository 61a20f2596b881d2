//! The events of a room and their auth chains, read once each.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::{ResolveError, Room};
use crate::{
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
    tree,
};

/// A cache over a room for the time of one resolution.
pub(super) struct Graph<'a, R: Room> {
    room: &'a R,
    events: BTreeMap<EventKey, Pdu>,
    auth_events: BTreeMap<EventKey, Rc<[EventKey]>>,
}

impl<'a, R: Room> Graph<'a, R> {
    pub(super) fn new(room: &'a R) -> Self {
        Graph { room, events: BTreeMap::new(), auth_events: BTreeMap::new() }
    }

    pub(super) fn room(&self) -> &'a R {
        self.room
    }

    /// An event.
    pub(super) fn event(&mut self, key: EventKey) -> Result<Pdu, ResolveError<R::Failure>> {
        self.try_event(key)?.ok_or(ResolveError::Missing(key))
    }

    /// An event, or none if there is none.
    pub(super) fn try_event(&mut self, key: EventKey) -> Result<Option<Pdu>, ResolveError<R::Failure>> {
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

    /// The keys of an event's auth events.
    pub(super) fn auth_events(&mut self, key: EventKey) -> Result<Rc<[EventKey]>, ResolveError<R::Failure>> {
        if let Some(known) = self.auth_events.get(&key) {
            return Ok(known.clone());
        }
        let read = self.room.auth_events(key).map_err(ResolveError::Fetch)?.ok_or(ResolveError::Missing(key))?;
        let auth_events: Rc<[EventKey]> = read.into();
        self.auth_events.insert(key, auth_events.clone());
        Ok(auth_events)
    }

    /// The auth chains of these events together.
    pub(super) fn chains(
        &mut self,
        events: impl IntoIterator<Item = EventKey>,
    ) -> Result<BTreeSet<EventKey>, ResolveError<R::Failure>> {
        let mut chains = BTreeSet::new();
        let mut stack: Vec<EventKey> = events.into_iter().collect();
        while let Some(key) = stack.pop() {
            for auth_event in self.auth_events(key)?.iter() {
                if chains.insert(*auth_event) {
                    stack.push(*auth_event);
                }
            }
        }
        Ok(chains)
    }

    /// Those of `events`, and of the events in their auth chains, from which the auth events lead to one of `targets`, the
    /// targets among them included.
    pub(super) fn leading_to(
        &mut self,
        events: &BTreeSet<EventKey>,
        targets: &BTreeSet<EventKey>,
    ) -> Result<BTreeSet<EventKey>, ResolveError<R::Failure>> {
        let mut within = self.chains(events.iter().copied())?;
        within.extend(events);
        let mut cited_by: BTreeMap<EventKey, Vec<EventKey>> = BTreeMap::new();
        for key in &within {
            for auth_event in self.auth_events(*key)?.iter() {
                cited_by.entry(*auth_event).or_default().push(*key);
            }
        }
        let mut leading: BTreeSet<EventKey> = within.intersection(targets).copied().collect();
        let mut stack: Vec<EventKey> = leading.iter().copied().collect();
        while let Some(key) = stack.pop() {
            for citing in cited_by.get(&key).into_iter().flatten() {
                if leading.insert(*citing) {
                    stack.push(*citing);
                }
            }
        }
        Ok(leading)
    }

    /// The event that an event's `auth_events` have for this type and state key.
    pub(super) fn auth_event_of(
        &mut self,
        key: EventKey,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Pdu>, ResolveError<R::Failure>> {
        for auth_event in self.auth_events(key)?.iter() {
            let event = self.event(*auth_event)?;
            if event.is_state_of(event_type, state_key) {
                return Ok(Some(event));
            }
        }
        Ok(None)
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
