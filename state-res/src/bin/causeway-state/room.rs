//! A room from a file: its events and states.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, btree_map::Entry},
    rc::Rc,
};

use serde_json::value::RawValue;
use state_res::{
    auth::Refusal,
    ids::{EventKey, StateKeyId},
    pdu::{PartialPdu, Pdu},
    resolve::{Events, Links, ResolveError, resolve},
    room_version::{EventIdFormat, RoomVersion, StateResolution},
    tree::{self, MemoryNodes, NodeHash, Nodes, Root},
};

use crate::{
    failure::Failure,
    input::{Source, shown},
    keys::{Checked, Keys},
    place::{self, Place},
    standing::Standings,
};

/// What a file holds.
pub(crate) struct Room<'a> {
    source: Source<'a>,
    pub(crate) version: RoomVersion,
    /// In the order of the file, one that is there twice once.
    pub(crate) events: Vec<Event<'a>>,
    /// The list of them.
    list: &'a RawValue,
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
    /// Whether some of them cannot take part in resolution: see [`Room::takes_part`].
    cites_strangers: bool,
    /// Its index in the file.
    at: usize,
    text: &'a RawValue,
    /// The rule that rejects it for want of a signature, if signatures are checked.
    pub(crate) not_vouched: Option<Refusal>,
}

impl<'a> Event<'a> {
    /// Where in the file it is.
    pub(crate) fn path(&self) -> String {
        format!("events[{}]", self.at)
    }

    /// The same, with its text.
    fn place(&self) -> Place<'a> {
        Place::new(self.text, self.path())
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

        let list = source.needed(&object, root, "events")?;
        let texts = source.array(list, "events")?;
        let mut events: Vec<Event<'_>> = Vec::with_capacity(texts.len());
        let mut by_key = BTreeMap::new();
        for (at, text) in texts.into_iter().enumerate() {
            let Checked { event: pdu, not_vouched } =
                read_event(&source, version, &Place::new(text, format!("events[{at}]")), keys)?;
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
            events.push(Event { pdu, auth_events, cites_strangers: false, at, text, not_vouched });
        }
        let standings = Standings::new(events.len());
        let nodes = RefCell::new(MemoryNodes::default());
        let mut room = Room { source, version, events, list, by_key, states: Vec::new(), nodes, standings };
        for at in 0..room.events.len() {
            room.events[at].cites_strangers = room.cites_strangers(at);
        }
        match object.get("state_sets") {
            None if states == States::Optional => {}
            _ => room.states = room.read_states(room.source.needed(&object, root, "state_sets")?)?,
        }
        Ok(room)
    }

    fn read_states(&self, sets: &'a RawValue) -> Result<Vec<Vec<usize>>, Failure> {
        let source = &self.source;
        let mut states = Vec::new();
        let mut room_id: Option<Cow<'_, str>> = None;
        for (number, set) in source.array(sets, "state_sets")?.into_iter().enumerate() {
            let mut state = Vec::new();
            let mut places: BTreeMap<StateKeyId, (usize, usize)> = BTreeMap::new();
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
                let room = self.room_of(pdu);
                if *room_id.get_or_insert_with(|| room.clone()) != room {
                    return Err(source.complain(
                        text,
                        path(),
                        format!("{id} is of another room than the events before it"),
                    ));
                }
                let (before, other) = *places.entry(StateKeyId::of(pdu.event_type(), state_key)).or_insert((at, index));
                // A state is a set: the same event again adds nothing.
                if other == index && before != at {
                    continue;
                }
                if other != index {
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

    /// A complaint that none of the events is the one that was asked about.
    pub(crate) fn lacks(&self, event_id: &str) -> Failure {
        let reason = match event_id {
            "" => "EVENT_ID is empty; event ids begin with `$`, which a shell takes for its own unless it is quoted"
                .to_owned(),
            _ if !event_id.starts_with('$') => {
                format!("has no event with the id {}: ids begin with `$`", shown(event_id))
            }
            _ if self.version.rules().event_id == EventIdFormat::Sent => {
                format!("has no event with the id {}", shown(event_id))
            }
            _ => format!(
                "has no event with the id {} (in room version {} ids are computed from the events)",
                shown(event_id),
                self.version
            ),
        };
        self.source.complain(self.list, "events", reason)
    }

    /// The indexes of an event's auth events; in room versions whose room ids are hashes not the create event's.
    pub(crate) fn auth_events_of(&self, index: usize) -> Result<Vec<usize>, Failure> {
        let event = &self.events[index];
        event.auth_events.iter().enumerate().map(|(at, key)| self.cited(event, at, *key)).collect()
    }

    fn cited(&self, event: &Event<'a>, at: usize, key: EventKey) -> Result<usize, Failure> {
        self.find(key).ok_or_else(|| {
            let id = event.pdu.auth_events().get(at).map(String::as_str).unwrap_or_default();
            let list = event.place().member(&self.source, "auth_events");
            let place = list.and_then(|list| list.element(&self.source, at)).unwrap_or_else(|| event.place());
            let reason = format!("{} is not among the events, so what depends on it cannot be told", shown(id));
            place.complain(&self.source, reason)
        })
    }

    fn cites_strangers(&self, index: usize) -> bool {
        let event = &self.events[index];
        event.auth_events.iter().any(|key| !self.takes_part(event, *key))
    }

    /// Whether what an event cites takes part in resolution with it: not if it is of another room. Whatever cites that was
    /// rejected (rule 2.5, in room version 12 rule 3.4), so that the algorithms, which know one room's accepted events, say
    /// nothing of it. Of what is absent this cannot be told.
    fn takes_part(&self, event: &Event<'a>, cited: EventKey) -> bool {
        self.find(cited).is_none_or(|cited| self.room_of(&self.events[cited].pdu) == self.room_of(&event.pdu))
    }

    /// The keys of those of an event's auth events that take part in resolution with it.
    fn auth_events_taking_part(&self, event: &Event<'a>) -> Vec<EventKey> {
        let cited = event.auth_events.iter().copied();
        if !event.cites_strangers {
            return cited.collect();
        }
        cited.filter(|cited| self.takes_part(event, *cited)).collect()
    }

    /// The id of the room that an event is of. A create event makes its own, where ids are made of it, whatever it says.
    fn room_of<'b>(&self, event: &'b Pdu) -> Cow<'b, str> {
        match event.event_id().strip_prefix('$') {
            Some(hash) if self.version.rules().create_event_is_room_id && event.is_state_of("m.room.create", "") => {
                Cow::Owned(format!("!{hash}"))
            }
            _ => Cow::Borrowed(event.room_id()),
        }
    }

    /// The create event of an event's room, where the room id tells which one that is.
    pub(crate) fn create_by_room_id(&self, event: &Pdu) -> Option<usize> {
        let hash = event.room_id().strip_prefix('!').filter(|_| self.version.rules().create_event_is_room_id)?;
        self.find(EventKey::of(&format!("${hash}")))
    }

    /// Whether the file lacks the create event that an event's room id names.
    pub(crate) fn lacks_create(&self, event: &Pdu) -> bool {
        self.version.rules().create_event_is_room_id
            && event.event_type() != "m.room.create"
            && self.create_by_room_id(event).is_none()
    }

    /// Whether an event was rejected: see [`Standings`].
    pub(crate) fn is_rejected(&self, index: usize) -> Result<bool, Failure> {
        Ok(self.standings.refusal(self, index)?.is_some())
    }

    /// The rule by which an event was rejected.
    pub(crate) fn refusal(&self, index: usize) -> Result<Option<Rc<Refusal>>, Failure> {
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
            let event = &self.events[index];
            for (at, key) in event.auth_events.iter().enumerate() {
                let cited = self.cited(event, at, *key)?;
                if !event.cites_strangers || self.takes_part(event, *key) {
                    stack.push(cited);
                }
            }
            if self.lacks_create(&event.pdu) {
                let reason = format!("the create event of {} is not among the events", shown(event.pdu.room_id()));
                let place = event.place().member(&self.source, "room_id").unwrap_or_else(|| event.place());
                return Err(place.complain(&self.source, reason));
            }
        }
        Ok(())
    }

    fn unresolved(&self, error: ResolveError<Failure>) -> Failure {
        match error {
            ResolveError::Fetch(failure) => failure,
            error => {
                let event = match &error {
                    ResolveError::NotState(key) => self.find(*key).map(|index| &self.events[index]),
                    _ => None,
                };
                match event {
                    Some(event) => {
                        event.place().complain(&self.source, "is no state event and yet in the auth chain of a state")
                    }
                    None => Failure::of_file(self.file(), error),
                }
            }
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
            Links { place, auth_events: self.auth_events_taking_part(event), generation: None }
        }))
    }
}

/// Reads an event, and checks its signatures and content hash if there are keys. If the hash is wrong the redacted copy
/// takes the event's place, as on receipt from another server.
fn read_event(
    source: &Source<'_>,
    version: RoomVersion,
    place: &Place<'_>,
    keys: Option<&Keys>,
) -> Result<Checked, Failure> {
    let read = PartialPdu::parse(version, place.value.get().as_bytes())
        .map_err(|error| place::not_an_event(source, version, place, &error))?;
    let Some(keys) = keys else { return Ok(Checked { event: read.event().clone(), not_vouched: None }) };
    if let Some(absent) = read.absent().first() {
        return Err(place.complain(source, format!("has no `{absent}`, so its signatures cannot be checked")));
    }
    keys.check(read.event().clone())
        .map_err(|error| place.member(source, "signatures").unwrap_or_else(|| place.clone()).complain(source, error))
}
