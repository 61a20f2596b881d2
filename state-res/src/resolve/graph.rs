//! The events of a room and how they cite each other, read once each.

use std::{collections::BTreeMap, rc::Rc};

use super::{Around, Citing, Links, ResolveError, Room};
use crate::{
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
    tree,
};

/// How many citing events are read at first, most often all there are, or more than enough.
pub(super) const FIRST_PAGE: usize = 4;

/// The places of so few events are looked up one by one. Reading what lies around events takes a scan, which pays for several only;
/// a walk down a chain, as of power levels, asks for one event after the other and for nothing that cites it.
const FEW: usize = 2;

/// A cache over a room for the time of one resolution. What will be asked for is best read together beforehand
/// ([`Self::read_events`], [`Self::read_links`], [`Self::read_citing`]).
pub(super) struct Graph<'a, R: Room> {
    room: &'a R,
    events: BTreeMap<EventKey, Pdu>,
    rejected: BTreeMap<EventKey, bool>,
    links: BTreeMap<EventKey, Rc<Links>>,
    /// The first [`FIRST_PAGE`] events that cite another.
    citing: BTreeMap<EventKey, Rc<[Citing]>>,
    /// Entries of the state that was asked about last.
    entries: (tree::Root, BTreeMap<StateKeyId, Option<EventKey>>),
}

impl<'a, R: Room> Graph<'a, R> {
    pub(super) fn new(room: &'a R) -> Self {
        Graph {
            room,
            events: BTreeMap::new(),
            rejected: BTreeMap::new(),
            links: BTreeMap::new(),
            citing: BTreeMap::new(),
            entries: (tree::Root::EMPTY, BTreeMap::new()),
        }
    }

    pub(super) fn room(&self) -> &'a R {
        self.room
    }

    /// Reads those of these events that are there and have not been read.
    pub(super) fn read_events(
        &mut self,
        keys: impl IntoIterator<Item = EventKey>,
    ) -> Result<(), ResolveError<R::Failure>> {
        let wanted = unread(keys, &self.events);
        if wanted.is_empty() {
            return Ok(());
        }
        let read = self.room.events(&wanted).map_err(ResolveError::Fetch)?;
        self.events.extend(wanted.into_iter().zip(read).filter_map(|(key, event)| Some((key, event?))));
        Ok(())
    }

    /// Reads those of these events that are there, and their places in the graph, which they may say themselves.
    pub(super) fn read_events_with_links(&mut self, keys: &[EventKey]) -> Result<(), ResolveError<R::Failure>> {
        self.read_events(keys.iter().copied())?;
        let (mut said, mut unsaid) = (Vec::new(), Vec::new());
        for key in keys {
            match self.events.get(key).and_then(|event| self.room.links_said(event)) {
                Some(links) => said.push((*key, links)),
                None => unsaid.push(*key),
            }
        }
        self.read_links(unsaid)?;
        self.read_links(said.iter().flat_map(|(_, links)| &links.auth_events).copied())?;
        for (key, mut links) in said {
            let generations = links.auth_events.iter().map(|cited| self.known_links(*cited)?.generation);
            links.generation = Links::generation_above(generations);
            // Those that others of these cite have been read.
            self.links.entry(key).or_insert_with(|| Rc::new(links));
        }
        Ok(())
    }

    /// Reads the places in the graph of those of these events that are there and whose places have not been read.
    pub(super) fn read_links(
        &mut self,
        keys: impl IntoIterator<Item = EventKey>,
    ) -> Result<(), ResolveError<R::Failure>> {
        let wanted = unread(keys, &self.links);
        if wanted.len() > FEW {
            self.read_around(wanted)?;
            return Ok(());
        }
        for key in wanted {
            if let Some(links) = self.room.links(key).map_err(ResolveError::Fetch)? {
                self.links.insert(key, Rc::new(links));
            }
        }
        Ok(())
    }

    /// Reads the first pages of what cites these events, as far as they have not been read. Gives whether there is an index,
    /// as far as that shows.
    pub(super) fn read_citing(
        &mut self,
        keys: impl IntoIterator<Item = EventKey>,
    ) -> Result<bool, ResolveError<R::Failure>> {
        let wanted = unread(keys, &self.citing);
        self.read_around(wanted)
    }

    /// Reads the places in the graph of these events and what cites them. Gives whether there is an index, as far as that shows.
    fn read_around(&mut self, wanted: Vec<EventKey>) -> Result<bool, ResolveError<R::Failure>> {
        if wanted.is_empty() {
            return Ok(true);
        }
        let read = self.room.around(&wanted, FIRST_PAGE).map_err(ResolveError::Fetch)?;
        let mut has_index = true;
        for (key, Around { links, citing }) in wanted.into_iter().zip(read) {
            if let Some(links) = links {
                self.links.entry(key).or_insert_with(|| Rc::new(links));
            }
            match citing {
                Some(citing) => {
                    self.citing.entry(key).or_insert_with(|| Rc::from(citing));
                }
                None => has_index = false,
            }
        }
        Ok(has_index)
    }

    /// Reads what the state `root` has in these places.
    pub(super) fn read_entries(
        &mut self,
        root: tree::Root,
        places: impl IntoIterator<Item = StateKeyId>,
    ) -> Result<(), ResolveError<R::Failure>> {
        self.look_at(root);
        let wanted = unread(places, &self.entries.1);
        if wanted.is_empty() {
            return Ok(());
        }
        let read = tree::get_all(self.room, root, &wanted)?;
        self.entries.1.extend(wanted.into_iter().zip(read));
        Ok(())
    }

    /// An event's place in the graph, if it has been read.
    pub(super) fn known_links(&self, key: EventKey) -> Option<&Rc<Links>> {
        self.links.get(&key)
    }

    /// Whether the first page of what cites an event has been read.
    pub(super) fn knows_citing(&self, key: EventKey) -> bool {
        self.citing.contains_key(&key)
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
    pub(super) fn is_rejected(&mut self, key: EventKey) -> Result<bool, ResolveError<R::Failure>> {
        if let Some(rejected) = self.rejected.get(&key) {
            return Ok(*rejected);
        }
        let rejected = self.room.is_rejected(key).map_err(ResolveError::Fetch)?;
        self.rejected.insert(key, rejected);
        Ok(rejected)
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

    /// The first page of the state events that cite this one, the last if it has fewer than [`FIRST_PAGE`]; `None` without an
    /// index.
    pub(super) fn first_citing(&mut self, key: EventKey) -> Result<Option<Rc<[Citing]>>, ResolveError<R::Failure>> {
        if !self.citing.contains_key(&key) && !self.read_citing([key])? {
            return Ok(None);
        }
        Ok(self.citing.get(&key).cloned())
    }

    /// A page of the state events that cite this one, after one of them; `None` without an index.
    pub(super) fn citing_after(
        &self,
        key: EventKey,
        after: EventKey,
        limit: usize,
    ) -> Result<Option<Vec<Citing>>, ResolveError<R::Failure>> {
        self.room.citing(key, Some(after), limit).map_err(ResolveError::Fetch)
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

    /// The create event that entitles an event: where room ids are made of it that of its room, which is the event itself if it
    /// began the room; otherwise that among its auth events, and of a create event itself.
    pub(super) fn create_of(&mut self, event: &Pdu) -> Result<Option<Pdu>, ResolveError<R::Failure>> {
        if event.version().rules().auth.create_in_auth_events {
            if event.is_state_of("m.room.create", "") {
                return Ok(Some(event.clone()));
            }
            return self.auth_event_of(event.key(), "m.room.create", "");
        }
        let hash = event.room_id().get(1..).unwrap_or_default();
        let create = self.try_event(EventKey::of(&format!("${hash}")))?;
        Ok(create.filter(|create| create.is_state_of("m.room.create", "")))
    }

    /// The event under `key` in the state `root`.
    pub(super) fn in_state(
        &mut self,
        root: tree::Root,
        key: StateKeyId,
    ) -> Result<Option<EventKey>, ResolveError<R::Failure>> {
        self.look_at(root);
        if let Some(known) = self.entries.1.get(&key) {
            return Ok(*known);
        }
        let event = tree::get(self.room, root, key)?;
        self.entries.1.insert(key, event);
        Ok(event)
    }

    /// Forgets the entries of another state.
    fn look_at(&mut self, root: tree::Root) {
        if self.entries.0 != root {
            self.entries = (root, BTreeMap::new());
        }
    }
}

/// Those of the keys that are not known, each once, in order.
fn unread<K: Ord, V>(keys: impl IntoIterator<Item = K>, known: &BTreeMap<K, V>) -> Vec<K> {
    let mut unread: Vec<K> = keys.into_iter().filter(|key| !known.contains_key(key)).collect();
    unread.sort_unstable();
    unread.dedup();
    unread
}

/// Where in a state an event belongs.
pub(super) fn place<E>(event: &Pdu) -> Result<StateKeyId, ResolveError<E>> {
    let state_key = event.state_key().ok_or(ResolveError::NotState(event.key()))?;
    Ok(StateKeyId::of(event.event_type(), state_key))
}
