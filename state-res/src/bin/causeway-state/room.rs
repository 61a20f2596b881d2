//! A room from a file: its events and states.

use std::{
    cell::RefCell,
    collections::{BTreeMap, btree_map::Entry},
    rc::Rc,
};

use serde_json::value::RawValue;
use state_res::{
    ids::{EventKey, StateKeyId},
    pdu::{PartialPdu, Pdu},
    resolve::{Events, Links, ResolveError, resolve},
    room_version::{RoomVersion, StateResolution},
    tree::{self, MemoryNodes, NodeHash, Nodes, Root},
};

use crate::{
    failure::Failure,
    input::{Source, shown},
    keys::Keys,
    standing::Standings,
};

/// What a file holds.
pub(crate) struct Room<'a> {
    source: Source<'a>,
    pub(crate) version: RoomVersion,
    /// In the order of the file, one that is there twice once.
    pub(crate) events: Vec<Event<'a>>,
    by_key: BTreeMap<EventKey, usize>,
    /// Each state's events, as indexes; none if the file need not have states.
    pub(crate) states: Vec<Vec<usize>>,
    nodes: RefCell<MemoryNodes>,
    standings: Standings,
}

/// An event of the file.
pub(crate) struct Event<'a> {
    pub(crate) pdu: Pdu,
    /// The keys of its auth events, as it cites them.
    pub(crate) auth_events: Box<[EventKey]>,
    /// Its index in the file.
    at: usize,
    text: &'a RawValue,
}

impl Event<'_> {
    /// Where in the file it is.
    pub(crate) fn path(&self) -> String {
        format!("events[{}]", self.at)
    }
}

/// Whether a file must have `state_sets`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum States {
    Needed,
    Optional,
}

impl<'a> Room<'a> {
    /// Reads a room.
    pub(crate) fn read(source: Source<'a>, keys: Option<&Keys>, states: States) -> Result<Self, Failure> {
        let root = source.root()?;
        let object = source.object(root, "")?;
        let version_text = source.needed(&object, root, "room_version")?;
        let version = source
            .string(version_text, || "room_version".to_owned())?
            .parse::<RoomVersion>()
            .map_err(|error| source.complain(version_text, "room_version", error))?;

        let texts = source.array(source.needed(&object, root, "events")?, "events")?;
        let mut events: Vec<Event<'_>> = Vec::with_capacity(texts.len());
        let mut by_key = BTreeMap::new();
        for (at, text) in texts.into_iter().enumerate() {
            let pdu = read_event(&source, version, text, &format!("events[{at}]"), keys)?;
            match by_key.entry(pdu.key()) {
                Entry::Vacant(place) => {
                    place.insert(events.len());
                }
                Entry::Occupied(before) => {
                    let before = &events[*before.get()];
                    if before.pdu.canonical() == pdu.canonical() {
                        continue;
                    }
                    let reason = format!("has the id of {}, {}, and is not the same", before.path(), pdu.event_id());
                    return Err(source.complain(text, format!("events[{at}]"), reason));
                }
            }
            let auth_events = pdu.auth_events().iter().map(|id| EventKey::of(id)).collect();
            events.push(Event { pdu, auth_events, at, text });
        }
        let standings = Standings::new(events.len());
        let nodes = RefCell::new(MemoryNodes::default());
        let mut room = Room { source, version, events, by_key, states: Vec::new(), nodes, standings };
        match object.get("state_sets") {
            None if states == States::Optional => {}
            _ => room.states = room.read_states(room.source.needed(&object, root, "state_sets")?)?,
        }
        Ok(room)
    }

    fn read_states(&self, sets: &'a RawValue) -> Result<Vec<Vec<usize>>, Failure> {
        let source = &self.source;
        let mut states = Vec::new();
        let mut room_id: Option<&str> = None;
        for (number, set) in source.array(sets, "state_sets")?.into_iter().enumerate() {
            let mut state = Vec::new();
            let mut places: BTreeMap<StateKeyId, usize> = BTreeMap::new();
            for (at, text) in source.array(set, &format!("state_sets[{number}]"))?.into_iter().enumerate() {
                let path = || format!("state_sets[{number}][{at}]");
                let id = source.string(text, path)?;
                let Some(&index) = self.by_key.get(&EventKey::of(&id)) else {
                    return Err(source.complain(text, path(), format!("{} is not among the events", shown(&id))));
                };
                let pdu = &self.events[index].pdu;
                let Some(state_key) = pdu.state_key() else {
                    return Err(source.complain(text, path(), format!("{id} is not a state event")));
                };
                if *room_id.get_or_insert(pdu.room_id()) != pdu.room_id() {
                    return Err(source.complain(
                        text,
                        path(),
                        format!("{id} is of another room than the events before it"),
                    ));
                }
                if let Some(before) = places.insert(StateKeyId::of(pdu.event_type(), state_key), at) {
                    let reason = format!(
                        "{id} is the second event of type {} with state key \"{}\" in this state, after \
                         state_sets[{number}][{before}]",
                        shown(pdu.event_type()),
                        shown(state_key),
                    );
                    return Err(source.complain(text, path(), reason));
                }
                state.push(index);
            }
            states.push(state);
        }
        Ok(states)
    }

    /// The name of the file, for messages.
    pub(crate) fn file(&self) -> &'a str {
        self.source.file()
    }

    /// The index of an event.
    pub(crate) fn find(&self, key: EventKey) -> Option<usize> {
        self.by_key.get(&key).copied()
    }

    /// The indexes of an event's auth events; in room versions whose room ids are hashes not the create event's.
    pub(crate) fn auth_events_of(&self, index: usize) -> Result<Vec<usize>, Failure> {
        let event = &self.events[index];
        event.auth_events.iter().enumerate().map(|(at, key)| self.cited(event, at, *key)).collect()
    }

    fn cited(&self, event: &Event<'_>, at: usize, key: EventKey) -> Result<usize, Failure> {
        self.find(key).ok_or_else(|| {
            let id = event.pdu.auth_events().get(at).map(String::as_str).unwrap_or_default();
            let path = format!("{}.auth_events[{at}]", event.path());
            let reason = format!("{} is not among the events, so what depends on it cannot be told", shown(id));
            self.source.complain(event.text, path, reason)
        })
    }

    /// The create event of an event's room, where the room id tells which one that is.
    pub(crate) fn create_by_room_id(&self, event: &Pdu) -> Option<usize> {
        let hash = event.room_id().strip_prefix('!').filter(|_| self.version.rules().create_event_is_room_id)?;
        self.find(EventKey::of(&format!("${hash}")))
    }

    /// Whether an event was rejected: see [`Standings`].
    pub(crate) fn is_rejected(&self, index: usize) -> Result<bool, Failure> {
        Ok(self.standings.refusal(self, index)?.is_some())
    }

    /// The rule by which an event was rejected.
    pub(crate) fn refusal(&self, index: usize) -> Result<Option<Rc<state_res::auth::Refusal>>, Failure> {
        self.standings.refusal(self, index)
    }

    /// The resolution of the states: the events in it, by type and state key.
    pub(crate) fn resolve(&self) -> Result<BTreeMap<(String, String), usize>, Failure> {
        let mut roots = Vec::new();
        for state in &self.states {
            roots.push(self.root_of(state)?);
        }
        let is_conflicted = roots.windows(2).any(|pair| pair[0] != pair[1]);
        // The first algorithm looks at no auth events.
        if is_conflicted && self.version.rules().state_resolution != StateResolution::V1 {
            self.check_auth_chains()?;
        }
        let (root, new) = resolve(self.version, &roots, self).map_err(|error| self.unresolved(error))?;
        self.nodes.borrow_mut().extend(new);
        let mut resolved = BTreeMap::new();
        for entry in tree::entries(self, root) {
            let (_, key) = entry.map_err(|error| self.unresolved(ResolveError::Tree(error)))?;
            let index = self.find(key).ok_or_else(|| self.unresolved(ResolveError::Missing(key)))?;
            let event = &self.events[index].pdu;
            let place = (event.event_type().to_owned(), event.state_key().unwrap_or_default().to_owned());
            resolved.insert(place, index);
        }
        Ok(resolved)
    }

    fn root_of(&self, state: &[usize]) -> Result<Root, Failure> {
        let entries: Vec<tree::Entry> = state
            .iter()
            .map(|index| &self.events[*index].pdu)
            .map(|event| (StateKeyId::of(event.event_type(), event.state_key().unwrap_or_default()), event.key()))
            .collect();
        let (root, new) =
            tree::insert(self, Root::EMPTY, &entries).map_err(|error| self.unresolved(ResolveError::Tree(error)))?;
        self.nodes.borrow_mut().extend(new);
        Ok(root)
    }

    /// Every event of the states' auth chains must be there: any of them may be in the auth difference.
    fn check_auth_chains(&self) -> Result<(), Failure> {
        let mut seen = vec![false; self.events.len()];
        let mut stack: Vec<usize> = self.states.iter().flatten().copied().collect();
        while let Some(index) = stack.pop() {
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            stack.extend(self.auth_events_of(index)?);
            let event = &self.events[index];
            if self.version.rules().create_event_is_room_id && self.create_by_room_id(&event.pdu).is_none() {
                let reason = format!("the create event of {} is not among the events", shown(event.pdu.room_id()));
                return Err(self.source.complain(event.text, event.path(), reason));
            }
        }
        Ok(())
    }

    fn unresolved(&self, error: ResolveError<Failure>) -> Failure {
        match error {
            ResolveError::Fetch(failure) => failure,
            error => Failure::of_file(self.file(), error),
        }
    }
}

impl Nodes for Room<'_> {
    type Error = Failure;
    type Bytes = std::sync::Arc<[u8]>;

    fn node(&self, hash: &NodeHash) -> Result<Option<Self::Bytes>, Failure> {
        self.nodes.borrow().node(hash).map_err(|never| match never {})
    }
}

impl Events for Room<'_> {
    type Error = Failure;

    fn event(&self, key: EventKey) -> Result<Option<Pdu>, Failure> {
        Ok(self.find(key).map(|index| self.events[index].pdu.clone()))
    }

    fn is_rejected(&self, key: EventKey) -> Result<bool, Failure> {
        match self.find(key) {
            Some(index) => Room::is_rejected(self, index),
            None => Ok(false),
        }
    }

    fn links(&self, key: EventKey) -> Result<Option<Links>, Failure> {
        Ok(self.find(key).map(|index| {
            let event = &self.events[index];
            let place = event.pdu.state_key().map(|state_key| StateKeyId::of(event.pdu.event_type(), state_key));
            Links { place, auth_events: event.auth_events.to_vec(), generation: None }
        }))
    }
}

/// Reads an event, and checks its signatures and content hash if there are keys. If the hash is wrong the redacted copy
/// takes the event's place, as on receipt from another server.
fn read_event<'a>(
    source: &Source<'a>,
    version: RoomVersion,
    text: &'a RawValue,
    path: &str,
    keys: Option<&Keys>,
) -> Result<Pdu, Failure> {
    let json = text.get().as_bytes();
    let broken = |error| source.not_an_event(text, path, &error);
    match keys {
        None => PartialPdu::parse(version, json).map(|partial| partial.event().clone()).map_err(broken),
        Some(keys) => {
            let event = PartialPdu::parse(version, json).map_err(broken)?;
            if let Some(absent) = event.absent().first() {
                let reason = format!("has no `{absent}`, so its signatures cannot be checked");
                return Err(source.complain(text, path, reason));
            }
            keys.check(event.event().clone())
                .map_err(|error| source.complain(text, format!("{path}.signatures"), error))
        }
    }
}
