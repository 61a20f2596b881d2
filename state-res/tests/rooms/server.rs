//! A server's view of a room: it receives events one by one, judges each as the checks on receipt of a PDU have it, and
//! knows the state before and after each.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    sync::Arc,
};

use state_res::{
    auth::{Cited, Refusal, check, check_auth_events, state_needed},
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
    resolve::{Citing, Events, Links},
    room_version::RoomVersion,
    tree::{MemoryNodes, NewNodes, NodeHash, Nodes, Root, entries, get, update},
};

/// A state as plain data.
pub type State = BTreeMap<StateKeyId, EventKey>;

/// What merges states. A server takes it as an argument, so that tests can break it.
pub trait Resolver: Sync {
    /// The resolution of these states, and the nodes it needs.
    fn resolve(&self, version: RoomVersion, states: &[Root], server: &Server) -> (Root, NewNodes);
}

/// State resolution as this crate has it.
pub struct Ours;

impl Resolver for Ours {
    fn resolve(&self, version: RoomVersion, states: &[Root], server: &Server) -> (Root, NewNodes) {
        state_res::resolve::resolve(version, states, server).unwrap()
    }
}

/// The same by a server that keeps no index of the graph of auth events, or does not know all generations in it.
pub enum Poorly {
    WithoutIndex,
    WithoutGenerations,
}

impl Resolver for Poorly {
    fn resolve(&self, version: RoomVersion, states: &[Root], server: &Server) -> (Root, NewNodes) {
        state_res::resolve::resolve(version, states, &Poor { server, how: self }).unwrap()
    }
}

struct Poor<'a> {
    server: &'a Server,
    how: &'a Poorly,
}

impl Nodes for Poor<'_> {
    type Error = Infallible;
    type Bytes = Arc<[u8]>;

    fn node(&self, hash: &NodeHash) -> Result<Option<Arc<[u8]>>, Infallible> {
        self.server.node(hash)
    }
}

impl Events for Poor<'_> {
    type Error = Infallible;

    fn event(&self, key: EventKey) -> Result<Option<Pdu>, Infallible> {
        self.server.event(key)
    }

    fn is_rejected(&self, key: EventKey) -> Result<bool, Infallible> {
        self.server.is_rejected(key)
    }

    fn citing(&self, key: EventKey, after: Option<EventKey>, limit: usize) -> Result<Option<Vec<Citing>>, Infallible> {
        match self.how {
            Poorly::WithoutIndex => Ok(None),
            Poorly::WithoutGenerations => self.server.citing(key, after, limit),
        }
    }
}

/// What became of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Accepted,
    /// Check 4 on receipt of a PDU.
    RejectedByAuthEvents(Refusal),
    /// Check 5.
    RejectedByState(Refusal),
}

/// An event that was received.
pub struct Received {
    pub pdu: Pdu,
    /// Its place in the graph of auth events.
    pub links: Links,
    pub verdict: Verdict,
    pub before: Root,
    pub after: Root,
    /// How many came before it.
    pub arrival: usize,
}

/// A server in a room.
pub struct Server {
    version: RoomVersion,
    /// In no certain order, as a server's memory is.
    events: HashMap<EventKey, Received>,
    /// By event the state events that cite it.
    citing: HashMap<EventKey, BTreeSet<Citing>>,
    nodes: MemoryNodes,
}

impl Server {
    pub fn new(version: RoomVersion) -> Self {
        Server { version, events: HashMap::new(), citing: HashMap::new(), nodes: MemoryNodes::default() }
    }

    /// What was received under this key.
    pub fn received(&self, key: EventKey) -> &Received {
        &self.events[&key]
    }

    /// An event.
    pub fn pdu(&self, key: EventKey) -> &Pdu {
        &self.received(key).pdu
    }

    pub fn knows(&self, key: EventKey) -> bool {
        self.events.contains_key(&key)
    }

    /// The event that a state has under a key.
    pub fn in_state(&self, state: Root, key: StateKeyId) -> Option<&Pdu> {
        get(&self.nodes, state, key).unwrap().map(|event| self.pdu(event))
    }

    /// A state as plain data.
    pub fn state(&self, root: Root) -> State {
        entries(&self.nodes, root).map(Result::unwrap).collect()
    }

    /// A state with some changes.
    pub fn changed(&mut self, root: Root, changes: &[(StateKeyId, Option<EventKey>)]) -> Root {
        let (root, new) = update(&self.nodes, root, changes).unwrap();
        self.nodes.extend(new);
        root
    }

    /// The resolution of states.
    pub fn resolve(&mut self, resolver: &dyn Resolver, states: &[Root]) -> Root {
        let (root, new) = resolver.resolve(self.version, states, self);
        self.nodes.extend(new);
        root
    }

    /// The room's state after these events, which is the state before an event that has them as `prev_events`.
    pub fn state_after(&mut self, resolver: &dyn Resolver, events: &[EventKey]) -> Root {
        match events {
            [] => Root::EMPTY,
            [only] => self.received(*only).after,
            several => {
                let states: Vec<Root> = several.iter().map(|event| self.received(*event).after).collect();
                self.resolve(resolver, &states)
            }
        }
    }

    /// Receives an event whose `prev_events` and auth events it has.
    pub fn receive(&mut self, resolver: &dyn Resolver, pdu: &Pdu) -> &Received {
        let previous: Vec<EventKey> = pdu.prev_events().iter().map(|id| EventKey::of(id)).collect();
        let before = self.state_after(resolver, &previous);
        self.receive_at(pdu, before)
    }

    /// Receives an event when the state before it is known already.
    pub fn receive_at(&mut self, pdu: &Pdu, before: Root) -> &Received {
        let mut links = Links::of(pdu);
        let cited = links.auth_events.iter();
        links.generation = Links::generation_above(cited.clone().map(|cited| self.received(*cited).links.generation));
        let citing = links.place.map(|place| Citing { event: pdu.key(), place });
        for cited in cited {
            self.citing.entry(*cited).or_default().extend(citing);
        }
        let verdict = match self.check_by_auth_events(pdu, &links.auth_events) {
            Err(refusal) => Verdict::RejectedByAuthEvents(refusal),
            Ok(()) => match self.check_by_state(pdu, before) {
                Err(refusal) => Verdict::RejectedByState(refusal),
                Ok(()) => Verdict::Accepted,
            },
        };
        let after = match pdu.state_key() {
            Some(state_key) if verdict == Verdict::Accepted => {
                self.changed(before, &[(StateKeyId::of(pdu.event_type(), state_key), Some(pdu.key()))])
            }
            _ => before,
        };
        let arrival = self.events.len();
        let received = Received { pdu: pdu.clone(), links, verdict, before, after, arrival };
        self.events.entry(pdu.key()).insert_entry(received).into_mut()
    }

    fn check_by_auth_events(&self, pdu: &Pdu, cited: &[EventKey]) -> Result<(), Refusal> {
        let received = |key: &EventKey| {
            let Received { pdu, verdict, .. } = self.received(*key);
            Cited { event: pdu, rejected: *verdict != Verdict::Accepted }
        };
        let list: Vec<Cited<'_>> = cited.iter().map(received).collect();
        let implied = EventKey::of(&format!("${}", pdu.room_id().get(1..).unwrap_or_default()));
        let create = self.knows(implied).then(|| received(&implied));
        check_auth_events(pdu, &list, create)?;
        let mut state: Vec<Pdu> = list.iter().map(|cited| cited.event.clone()).collect();
        state.extend(create.map(|create| create.event.clone()));
        check(pdu, &state)
    }

    fn check_by_state(&self, pdu: &Pdu, before: Root) -> Result<(), Refusal> {
        let needed = state_needed(pdu);
        let found = needed.into_iter().filter_map(|(ty, key)| self.in_state(before, StateKeyId::of(ty, key)));
        check(pdu, &found.cloned().collect::<Vec<_>>())
    }
}

impl Nodes for Server {
    type Error = Infallible;
    type Bytes = Arc<[u8]>;

    fn node(&self, hash: &NodeHash) -> Result<Option<Arc<[u8]>>, Infallible> {
        self.nodes.node(hash)
    }
}

impl Events for Server {
    type Error = Infallible;

    fn event(&self, key: EventKey) -> Result<Option<Pdu>, Infallible> {
        Ok(self.events.get(&key).map(|received| received.pdu.clone()))
    }

    fn is_rejected(&self, key: EventKey) -> Result<bool, Infallible> {
        Ok(self.events.get(&key).is_some_and(|received| received.verdict != Verdict::Accepted))
    }

    fn links(&self, key: EventKey) -> Result<Option<Links>, Infallible> {
        Ok(self.events.get(&key).map(|received| received.links.clone()))
    }

    fn links_said(&self, event: &Pdu) -> Option<Links> {
        Some(Links::of(event))
    }

    fn citing(&self, key: EventKey, after: Option<EventKey>, limit: usize) -> Result<Option<Vec<Citing>>, Infallible> {
        let all = self.citing.get(&key).into_iter().flatten();
        let rest = all.filter(|citing| after.is_none_or(|after| citing.event > after));
        Ok(Some(rest.take(limit).copied().collect()))
    }
}
