//! State resolution a second time: plain maps and sets, no trees, each definition as the page of the room version has it.
//! Slow and obvious, but fast enough for very many small rooms, and able to make mistakes that properties must notice.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashSet},
};

use sha1::{Digest, Sha1};
use state_res::{
    auth::{PowerLevel, PowerLevels, check, state_needed},
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
    room_version::{RoomVersion, StateResolution},
};

use crate::server::{Server, State, Verdict};

/// The events of a room.
pub trait Graph {
    fn event(&self, key: EventKey) -> &Pdu;
    fn auth_events(&self, key: EventKey) -> &[EventKey];
    fn is_rejected(&self, key: EventKey) -> bool;
    /// How many events the server got before this one. Nothing may depend on it.
    fn arrival(&self, key: EventKey) -> usize;
}

impl Graph for Server {
    fn event(&self, key: EventKey) -> &Pdu {
        self.pdu(key)
    }

    fn auth_events(&self, key: EventKey) -> &[EventKey] {
        &self.received(key).links.auth_events
    }

    fn is_rejected(&self, key: EventKey) -> bool {
        self.received(key).verdict != Verdict::Accepted
    }

    fn arrival(&self, key: EventKey) -> usize {
        self.received(key).arrival
    }
}

/// Mistakes that an implementation could make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// Of two topics the one of the first state wins.
    FirstStateWins,
    /// Power events that neither power nor time orders stand in the order in which they came, not by their ids.
    ArrivalBreaksTies,
    /// Of several events for one place any one is taken where nothing orders them: whichever a hash map has first.
    MapOrderBreaksTies,
    /// Power events are sorted by power, time and id alone, not after what they cite.
    NoTopology,
    /// Bans are no power events, and where they are replayed they yield to what is there.
    BansYield,
    /// The result lacks what all states have but the rules would not allow now.
    RechecksAgreedState,
    /// Step 5 is missing: what was replayed covers what nobody disputes.
    NoStepFive,
}

/// What the definitions of versions 2 to 12 say of states.
pub struct Definitions {
    pub unconflicted: State,
    pub conflicted: BTreeSet<EventKey>,
    pub full_conflicted_set: BTreeSet<EventKey>,
}

/// The place in the state that an event is for.
pub fn place(event: &Pdu) -> StateKeyId {
    StateKeyId::of(event.event_type(), event.state_key().unwrap())
}

/// The resolution of states.
pub fn resolve(version: RoomVersion, graph: &dyn Graph, states: &[State], fault: Fault) -> State {
    match version.rules().state_resolution {
        StateResolution::V1 => v1(graph, states),
        StateResolution::V2 => v2(graph, states, false, fault),
        StateResolution::V2_1 => v2(graph, states, true, fault),
    }
}

/// "Auth chain", of several events together, without these themselves unless they are in the chain of another.
fn auth_chain(graph: &dyn Graph, of: impl IntoIterator<Item = EventKey>) -> BTreeSet<EventKey> {
    let mut chain = BTreeSet::new();
    let mut stack: Vec<EventKey> = of.into_iter().collect();
    while let Some(at) = stack.pop() {
        stack.extend(graph.auth_events(at).iter().filter(|cited| chain.insert(**cited)));
    }
    chain
}

/// The definitions of room version 2 or, with the conflicted state subgraph, 12.
pub fn definitions(version: RoomVersion, graph: &dyn Graph, states: &[State]) -> Definitions {
    let mut unconflicted = State::new();
    let mut conflicted = BTreeSet::new();
    for (key, event) in states.iter().flatten() {
        if states.iter().all(|state| state.get(key) == Some(event)) {
            unconflicted.insert(*key, *event);
        } else {
            conflicted.insert(*event);
        }
    }
    // "The union of the auth chains for each event […], and then taking every event that doesn't appear in every auth chain".
    let chains: Vec<_> = states.iter().map(|state| auth_chain(graph, state.values().copied())).collect();
    let mut full = conflicted.clone();
    full.extend(chains.iter().flatten().filter(|event| !chains.iter().all(|chain| chain.contains(event))));
    if version.rules().state_resolution == StateResolution::V2_1 {
        // "Starting from an event in the conflicted state set and following auth_events edges may lead to another event in the
        // conflicted state set. The union of all such paths […]".
        for on_the_way in auth_chain(graph, conflicted.iter().copied()) {
            if !auth_chain(graph, [on_the_way]).is_disjoint(&conflicted) {
                full.insert(on_the_way);
            }
        }
    }
    Definitions { unconflicted, conflicted, full_conflicted_set: full }
}

fn is_power_event(event: &Pdu) -> bool {
    let membership = event.content().get("membership").and_then(|membership| membership.as_str());
    match event.event_type() {
        "m.room.power_levels" | "m.room.join_rules" => true,
        "m.room.member" => matches!(membership, Some("leave" | "ban")) && event.state_key() != Some(event.sender()),
        _ => false,
    }
}

fn v2(graph: &dyn Graph, states: &[State], from_nothing: bool, fault: Fault) -> State {
    let version = if from_nothing { RoomVersion::V12 } else { RoomVersion::V2 };
    let Definitions { unconflicted, full_conflicted_set: full, .. } = definitions(version, graph, states);
    // 1.
    let counts = |event: &EventKey| {
        let event = graph.event(*event);
        is_power_event(event) && (fault != Fault::BansYield || event.event_type() != "m.room.member")
    };
    let mut x: BTreeSet<EventKey> = full.iter().copied().filter(counts).collect();
    x.extend(auth_chain(graph, x.iter().copied()).intersection(&full));
    let sorted = reverse_topological_power_ordering(graph, x.clone(), fault);
    // 2.
    let mut state = if from_nothing { State::new() } else { unconflicted.clone() };
    iterative_auth_checks(graph, &mut state, &sorted, fault);
    // 3.
    let others = full.difference(&x).copied().collect();
    let power_levels = state.get(&StateKeyId::of("m.room.power_levels", "")).copied();
    let sorted = mainline_ordering(graph, others, power_levels, fault);
    // 4.
    iterative_auth_checks(graph, &mut state, &sorted, fault);
    // 5.
    if fault == Fault::NoStepFive {
        for (key, event) in unconflicted {
            state.entry(key).or_insert(event);
        }
    } else {
        state.extend(unconflicted);
    }
    match fault {
        Fault::FirstStateWins => {
            let topic = StateKeyId::of("m.room.topic", "");
            if let Some(first) = states[0].get(&topic) {
                state.insert(topic, *first);
            }
        }
        Fault::RechecksAgreedState => {
            let found = state.clone();
            state.retain(|_, event| allowed(graph, graph.event(*event), |key| found.get(&key).copied()));
        }
        _ => {}
    }
    state
}

fn cited(graph: &dyn Graph, event: EventKey, event_type: &str, state_key: &str) -> Option<EventKey> {
    graph.auth_events(event).iter().copied().find(|cited| graph.event(*cited).is_state_of(event_type, state_key))
}

fn create_of(graph: &dyn Graph, event: &Pdu) -> Option<EventKey> {
    if event.version().rules().auth.create_in_auth_events {
        return cited(graph, event.key(), "m.room.create", "");
    }
    Some(EventKey::of(&format!("${}", &event.room_id()[1..])))
}

fn sender_power(graph: &dyn Graph, event: &Pdu) -> PowerLevel {
    if event.event_type() == "m.room.create" {
        return PowerLevels::new(event, None).user(event.sender()).unwrap();
    }
    let create = graph.event(create_of(graph, event).unwrap());
    let power_levels = cited(graph, event.key(), "m.room.power_levels", "").map(|key| graph.event(key));
    PowerLevels::new(create, power_levels).user(event.sender()).unwrap_or(PowerLevel::Finite(0))
}

/// "The lexicographically smallest topological ordering", by taking the smallest again and again.
fn reverse_topological_power_ordering(graph: &dyn Graph, mut left: BTreeSet<EventKey>, fault: Fault) -> Vec<EventKey> {
    let order = |key: &EventKey| {
        let event = graph.event(*key);
        let (by_id, by_arrival) = match fault {
            Fault::ArrivalBreaksTies => ("", graph.arrival(*key)),
            _ => (event.event_id(), 0),
        };
        (Reverse(sender_power(graph, event)), event.origin_server_ts(), by_arrival, by_id)
    };
    let mut sorted = Vec::new();
    loop {
        let free = |key: &&EventKey| {
            fault == Fault::NoTopology || !graph.auth_events(**key).iter().any(|cited| left.contains(cited))
        };
        let Some(next) = left.iter().filter(free).min_by_key(|key| order(key)).copied() else { break };
        left.remove(&next);
        sorted.push(next);
    }
    sorted
}

fn mainline_ordering(
    graph: &dyn Graph,
    events: BTreeSet<EventKey>,
    power_levels: Option<EventKey>,
    fault: Fault,
) -> Vec<EventKey> {
    // "Repeatedly fetch Pᵢ₊₁, the m.room.power_levels event in the auth_events of Pᵢ."
    let list = |from: Option<EventKey>| {
        let mut list: Vec<EventKey> = Vec::new();
        let mut at = from;
        while let Some(key) = at.filter(|key| !list.contains(key)) {
            list.push(key);
            at = cited(graph, key, "m.room.power_levels", "");
        }
        list
    };
    let mainline = list(power_levels);
    let order = |key: &EventKey| {
        let event = graph.event(*key);
        let own = list(cited(graph, *key, "m.room.power_levels", ""));
        let position = own.iter().find_map(|at| mainline.iter().position(|on| on == at)).unwrap_or(usize::MAX);
        (Reverse(position), event.origin_server_ts(), event.event_id())
    };
    if fault == Fault::MapOrderBreaksTies {
        let mut sorted: Vec<EventKey> = events.into_iter().collect::<HashSet<_>>().into_iter().collect();
        sorted.sort_by_key(|key| (order(key).0, order(key).1));
        return sorted;
    }
    let mut sorted: Vec<EventKey> = events.into_iter().collect();
    sorted.sort_by(|one, other| order(one).cmp(&order(other)));
    sorted
}

fn allowed(graph: &dyn Graph, event: &Pdu, find: impl Fn(StateKeyId) -> Option<EventKey>) -> bool {
    let needed = state_needed(event);
    let found = needed.into_iter().filter_map(|(ty, key)| find(StateKeyId::of(ty, key)));
    check(event, &found.map(|key| graph.event(key).clone()).collect::<Vec<_>>()).is_ok()
}

fn iterative_auth_checks(graph: &dyn Graph, state: &mut State, sorted: &[EventKey], fault: Fault) {
    for key in sorted {
        let event = graph.event(*key);
        let mut needed: Vec<Pdu> = Vec::new();
        for (event_type, state_key) in state_needed(event) {
            // "If a key that is required […] is not present in the state, then the appropriate state event from the event's
            // auth_events is used if the auth event is not rejected."
            let from_auth_events = || {
                let cited = match event_type {
                    "m.room.create" => create_of(graph, event),
                    _ => cited(graph, *key, event_type, state_key),
                };
                cited.filter(|cited| !graph.is_rejected(*cited))
            };
            let found = state.get(&StateKeyId::of(event_type, state_key)).copied().or_else(from_auth_events);
            needed.extend(found.map(|found| graph.event(found).clone()));
        }
        let yields = fault == Fault::BansYield
            && event.content().get("membership").is_some_and(|membership| membership == "ban")
            && state.contains_key(&place(event));
        if check(event, &needed).is_ok() && !yields {
            state.insert(place(event), *key);
        }
    }
}

/// The algorithm of room version 1.
fn v1(graph: &dyn Graph, states: &[State]) -> State {
    let mut events: BTreeMap<StateKeyId, BTreeSet<EventKey>> = BTreeMap::new();
    for (key, event) in states.iter().flatten() {
        events.entry(*key).or_default().insert(*event);
    }
    // "Start by setting R to the union of the states to be resolved, excluding any conflicting events."
    let single = events.iter().filter(|(_, events)| events.len() == 1);
    let mut r: State = single.map(|(key, events)| (*key, *events.first().unwrap())).collect();
    let conflicting: Vec<(StateKeyId, Vec<&Pdu>)> = events
        .iter()
        .filter(|(_, events)| events.len() > 1)
        .map(|(key, events)| (*key, events.iter().map(|event| graph.event(*event)).collect()))
        .collect();
    let hash = |event: &Pdu| Sha1::digest(event.event_id()).to_vec();
    let passes = ["m.room.power_levels", "m.room.join_rules", "m.room.member"];
    for pass in passes {
        let before = r.clone();
        for (key, events) in conflicting.iter().filter(|(_, events)| events[0].event_type() == pass) {
            // "Sort the list by ascending depth then descending sha1(event_id)."
            let mut list = events.clone();
            list.sort_by_key(|event| (event.depth(), Reverse(hash(event))));
            let mut mine = before.clone();
            for (at, event) in list.iter().enumerate() {
                // "Add the first event in the list to R. For each subsequent event in the list, check that the event would be
                // allowed […]. If it would not be allowed, stop."
                if at > 0 && !allowed(graph, event, |key| mine.get(&key).copied()) {
                    break;
                }
                mine.insert(*key, event.key());
            }
            r.insert(*key, mine[key]);
        }
    }
    // "Just pick the event with the highest depth and lowest sha1(event_id) that passes authentication in R."
    let before = r.clone();
    for (key, events) in conflicting.iter().filter(|(_, events)| !passes.contains(&events[0].event_type())) {
        let passing = events.iter().filter(|event| allowed(graph, event, |key| before.get(&key).copied()));
        if let Some(best) = passing.min_by_key(|event| (Reverse(event.depth()), hash(event))) {
            r.insert(*key, best.key());
        }
    }
    r
}
