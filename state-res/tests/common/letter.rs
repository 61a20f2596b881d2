//! State resolution as docs/spec/6-state-resolution.md has it, clause by clause, with plain maps and sets and without any thought
//! of cost; and with single clauses left out, to show that a resolution without them is another one. Used by the tests and by the
//! fuzz targets.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::Value;
use sha1::{Digest, Sha1};
use state_res::{
    auth::{PowerLevel, PowerLevels, check, state_needed},
    pdu::Pdu,
    room_version::RoomVersion,
};

/// Type and state key.
pub type Place = (String, String);
/// A state as the specification writes it: event ids by place.
pub type State = BTreeMap<Place, String>;
/// Ids of events.
pub type Ids = BTreeSet<String>;

/// The events of a room.
pub trait Events {
    /// The event of this id.
    fn event(&self, id: &str) -> Option<&Pdu>;
    /// Whether it was rejected.
    fn is_rejected(&self, id: &str) -> bool;
}

/// The sets of chapters M3 and M6 on the way to a resolution.
#[derive(Default)]
pub struct Sets {
    /// M3.1
    pub unconflicted: State,
    /// M3.1
    pub conflicted: Ids,
    /// M3.3
    pub auth_difference: Ids,
    /// M3.4
    pub subgraph: Ids,
    /// M3.5
    pub full: Ids,
    /// *X* of M6.1
    pub power_events: Ids,
}

/// The clauses that can be left out, and what is done instead.
pub const CLAUSES: &[(&str, &str)] = &[
    ("M2.1", "what only some states have is left out"),
    ("M2.2", "the passes are taken in the opposite order"),
    ("M2.3", "events are taken in the opposite order"),
    ("M2.4", "an event that is not allowed does not end the list"),
    ("M2.5", "the deepest event is taken unchecked"),
    ("M2.6", "outcomes count at once"),
    ("M3.1", "what only some states have is not conflicted"),
    ("M3.3", "chains of conflicted events alone make the difference"),
    ("M3.4", "there is no conflicted subgraph"),
    ("M3.5", "the auth difference is left out"),
    ("M3.6", "kicks and bans are no power events"),
    ("M3.7", "all have the same power"),
    ("M4.1", "the weakest comes first"),
    ("M4.4", "the mainline is the power levels themselves"),
    ("M4.5", "the oldest power levels on the mainline count"),
    ("M4.6", "time alone orders"),
    ("M5.1", "nothing is checked"),
    ("M5.2", "auth events do not help"),
    ("M5.3", "rejected auth events help too"),
    ("M6.1", "power events alone, not their chains"),
    ("M6.2", "chains stop where they leave the full conflicted set"),
    ("M6.3", "each version begins as the other does"),
    ("M6.4", "what is left is not checked"),
    ("M6.5", "the unconflicted events are not put over the outcome"),
];

/// The resolution of these states, without one of the clauses.
pub fn resolve(version: RoomVersion, store: &dyn Events, states: &[State], without: Option<&str>) -> State {
    let letter = Letter::new(version, store, states, without);
    match letter.states.as_slice() {
        // M1.3
        [] => State::new(),
        [only] => only.clone(),
        // M1.5
        _ if version == RoomVersion::V1 => letter.first(),
        _ => letter.second(),
    }
}

/// The sets on the way there, of version 2 or later; `None` if the states do not differ.
pub fn sets(version: RoomVersion, store: &dyn Events, states: &[State]) -> Option<Sets> {
    let letter = Letter::new(version, store, states, None);
    (letter.states.len() > 1).then(|| letter.sets())
}

struct Letter<'a> {
    version: RoomVersion,
    store: &'a dyn Events,
    states: Vec<State>,
    without: &'a str,
}

impl<'a> Letter<'a> {
    fn new(version: RoomVersion, store: &'a dyn Events, states: &[State], without: Option<&'a str>) -> Self {
        let distinct: BTreeSet<State> = states.iter().cloned().collect();
        Letter { version, store, states: distinct.into_iter().collect(), without: without.unwrap_or("") }
    }

    fn on(&self, clause: &str) -> bool {
        debug_assert!(CLAUSES.iter().any(|(known, _)| *known == clause));
        self.without != clause
    }

    fn event(&self, id: &str) -> &'a Pdu {
        self.store.event(id).expect("the rooms of tests lack no event that counts")
    }

    /// What the states have at each place, and whether each of them has something.
    fn places(&self) -> BTreeMap<Place, (Ids, bool)> {
        let places: BTreeSet<&Place> = self.states.iter().flat_map(|state| state.keys()).collect();
        let at = |place: &Place| {
            let ids: Vec<_> = self.states.iter().filter_map(|state| state.get(place).cloned()).collect();
            let everywhere = ids.len() == self.states.len();
            (ids.into_iter().collect(), everywhere)
        };
        places.into_iter().map(|place| (place.clone(), at(place))).collect()
    }

    /// M2
    fn first(&self) -> State {
        let mut r = State::new();
        let mut disputed: Vec<(Place, Vec<&Pdu>)> = Vec::new();
        for (place, (ids, everywhere)) in self.places() {
            if ids.len() > 1 {
                disputed.push((place, ids.iter().map(|id| self.event(id)).collect()));
            } else if everywhere || self.on("M2.1") {
                r.extend(ids.into_iter().map(|id| (place.clone(), id)));
            }
        }
        let mut passes: Vec<Vec<&str>> =
            vec![vec!["m.room.power_levels"], vec!["m.room.join_rules"], vec!["m.room.member"], vec![]];
        if !self.on("M2.2") {
            passes.reverse();
        }
        let named = ["m.room.power_levels", "m.room.join_rules", "m.room.member"];
        let sha1 = |event: &&Pdu| Sha1::digest(event.event_id()).to_vec();
        for pass in passes {
            let mut outcomes = State::new();
            let in_pass =
                |place: &Place| if pass.is_empty() { !named.contains(&&*place.0) } else { pass.contains(&&*place.0) };
            for (place, events) in disputed.iter().filter(|(place, _)| in_pass(place)) {
                let mut list = events.clone();
                let before =
                    if self.on("M2.6") { r.clone() } else { r.clone().into_iter().chain(outcomes.clone()).collect() };
                let chosen = if pass.is_empty() {
                    list.sort_by_key(|event| (Reverse(event.depth()), sha1(event)));
                    let allowed = |event: &&&Pdu| !self.on("M2.5") || self.allows(event, &before);
                    list.iter().find(allowed).map(|event| event.event_id().to_owned())
                } else {
                    list.sort_by_key(|event| (event.depth(), Reverse(sha1(event))));
                    if !self.on("M2.3") {
                        list.reverse();
                    }
                    Some(self.last_allowed(place, &list, before))
                };
                outcomes.extend(chosen.map(|id| (place.clone(), id)));
            }
            r.extend(outcomes);
        }
        r
    }

    /// M2.4
    fn last_allowed(&self, place: &Place, list: &[&Pdu], mut r: State) -> String {
        r.insert(place.clone(), list[0].event_id().to_owned());
        for event in &list[1..] {
            if self.allows(event, &r) {
                r.insert(place.clone(), event.event_id().to_owned());
            } else if self.on("M2.4") {
                break;
            }
        }
        r[place].clone()
    }

    fn allows(&self, event: &Pdu, state: &State) -> bool {
        let state: Vec<Pdu> = state.values().map(|id| self.event(id).clone()).collect();
        check(event, &state).is_ok()
    }

    /// M3, M6.1
    fn sets(&self) -> Sets {
        let mut sets = Sets::default();
        // M3.1
        for (place, (ids, everywhere)) in self.places() {
            if ids.len() == 1 && (everywhere || !self.on("M3.1")) {
                sets.unconflicted.extend(ids.into_iter().map(|id| (place.clone(), id)));
            } else {
                sets.conflicted.extend(ids);
            }
        }
        // M3.5
        sets.full.clone_from(&sets.conflicted);
        if self.on("M3.5") {
            sets.auth_difference = self.auth_difference(&sets.conflicted);
            sets.full.extend(sets.auth_difference.iter().cloned());
        }
        if self.version == RoomVersion::V12 && self.on("M3.4") {
            sets.subgraph = self.subgraph(&sets.conflicted);
            sets.full.extend(sets.subgraph.iter().cloned());
        }
        // M6.1
        let mut x: Ids = sets.full.iter().filter(|id| self.is_power_event(id)).cloned().collect();
        if self.on("M6.1") {
            let within = if self.on("M6.2") { None } else { Some(&sets.full) };
            let chain = self.chain(x.iter().cloned(), within);
            x.extend(chain.intersection(&sets.full).cloned());
        }
        sets.power_events = x;
        sets
    }

    /// M6
    fn second(&self) -> State {
        let Sets { unconflicted, full, power_events: x, .. } = self.sets();
        // M6.3
        let empty = (self.version == RoomVersion::V12) == self.on("M6.3");
        let begin = if empty { State::new() } else { unconflicted.clone() };
        let mut state = self.apply(begin, &self.by_power(&x), true);
        // M6.4
        let rest: Ids = full.difference(&x).cloned().collect();
        let power_levels = state.get(&("m.room.power_levels".to_owned(), String::new())).cloned();
        state = self.apply(state, &self.by_mainline(&rest, power_levels), self.on("M6.4"));
        // M6.5
        if self.on("M6.5") {
            state.extend(unconflicted);
        } else {
            for (place, id) in unconflicted {
                state.entry(place).or_insert(id);
            }
        }
        state
    }

    /// M3.2, and M6.2: only as far as it stays within a set, if one is given.
    fn chain(&self, from: impl IntoIterator<Item = String>, within: Option<&Ids>) -> Ids {
        let mut chain = Ids::new();
        let mut stack: Vec<String> = from.into_iter().collect();
        while let Some(id) = stack.pop() {
            for cited in self.event(&id).auth_events() {
                if within.is_none_or(|within| within.contains(cited)) && chain.insert(cited.clone()) {
                    stack.push(cited.clone());
                }
            }
        }
        chain
    }

    /// M3.3
    fn auth_difference(&self, conflicted: &Ids) -> Ids {
        let of = |state: &State| {
            let events = state.values().filter(|id| self.on("M3.3") || conflicted.contains(*id)).cloned();
            self.chain(events, None)
        };
        let chains: Vec<Ids> = self.states.iter().map(of).collect();
        let all: Ids = chains.iter().flatten().cloned().collect();
        all.into_iter().filter(|id| !chains.iter().all(|chain| chain.contains(id))).collect()
    }

    /// M3.4
    fn subgraph(&self, conflicted: &Ids) -> Ids {
        let mut reached = self.chain(conflicted.iter().cloned(), None);
        reached.extend(conflicted.iter().cloned());
        let leads_back = |id: &String| {
            let mut chain = self.chain([id.clone()], None);
            chain.insert(id.clone());
            chain.iter().any(|id| conflicted.contains(id))
        };
        reached.into_iter().filter(leads_back).collect()
    }

    /// M3.6
    fn is_power_event(&self, id: &str) -> bool {
        let event = self.event(id);
        let membership = event.content().get("membership").and_then(Value::as_str);
        match event.event_type() {
            "m.room.power_levels" | "m.room.join_rules" => event.is_state(),
            "m.room.member" if self.on("M3.6") && event.is_state() => {
                matches!(membership, Some("leave" | "ban")) && event.state_key() != Some(event.sender())
            }
            _ => false,
        }
    }

    fn cited(&self, event: &Pdu, event_type: &str, state_key: &str) -> Option<&'a Pdu> {
        let mut cited = event.auth_events().iter().map(|id| self.event(id));
        let found = cited.find(|cited| cited.is_state_of(event_type, state_key));
        if self.version == RoomVersion::V12 && event_type == "m.room.create" {
            let create = self.store.event(&event.room_id().replacen('!', "$", 1));
            return create.filter(|create| create.is_state_of("m.room.create", ""));
        }
        found
    }

    /// M3.7
    fn power(&self, event: &Pdu) -> PowerLevel {
        if !self.on("M3.7") {
            return PowerLevel::Finite(0);
        }
        let is_its_own = self.version != RoomVersion::V12 && event.is_state_of("m.room.create", "");
        let create = if is_its_own { Some(event) } else { self.cited(event, "m.room.create", "") };
        let levels = self.cited(event, "m.room.power_levels", "");
        let levels =
            create.map_or_else(|| PowerLevels::without_create(levels), |create| PowerLevels::new(create, levels));
        levels.user(event.sender()).unwrap_or(PowerLevel::Finite(0))
    }

    /// M4.1 to M4.3
    fn by_power(&self, events: &Ids) -> Vec<String> {
        let mut left = events.clone();
        let mut order = Vec::new();
        loop {
            let ready = left.iter().filter(|id| !self.event(id).auth_events().iter().any(|cited| left.contains(cited)));
            let rank = |id: &&String| {
                let event = self.event(id);
                (Reverse(self.power(event)), event.origin_server_ts(), (*id).clone())
            };
            let next = if self.on("M4.1") { ready.min_by_key(rank) } else { ready.max_by_key(rank) };
            let Some(next) = next.cloned() else { return order };
            left.remove(&next);
            order.push(next);
        }
    }

    /// M4.4 to M4.6
    fn by_mainline(&self, events: &Ids, power_levels: Option<String>) -> Vec<String> {
        let next =
            |id: &str| self.cited(self.event(id), "m.room.power_levels", "").map(|event| event.event_id().to_owned());
        let mut mainline: Vec<String> = Vec::new();
        let mut at = power_levels;
        while let Some(id) = at.filter(|id| !mainline.contains(id)) {
            mainline.push(id.clone());
            at = if self.on("M4.4") { next(&id) } else { None };
        }
        let position = |id: &String| {
            let mut seen = Ids::new();
            let mut found = usize::MAX;
            let mut at = next(id);
            while let Some(id) = at.filter(|id| seen.insert(id.clone())) {
                if let Some(position) = mainline.iter().position(|on| *on == id) {
                    found = position;
                    if self.on("M4.5") {
                        break;
                    }
                }
                at = next(&id);
            }
            found
        };
        let rank = |id: &String| {
            let position = if self.on("M4.6") { position(id) } else { 0 };
            (Reverse(position), self.event(id).origin_server_ts(), id.clone())
        };
        let mut order: Vec<String> = events.iter().cloned().collect();
        order.sort_by_cached_key(rank);
        order
    }

    /// M5
    fn apply(&self, mut state: State, events: &[String], checked: bool) -> State {
        for id in events {
            let event = self.event(id);
            let mut seen = Vec::new();
            for (event_type, state_key) in state_needed(event) {
                if let Some(id) = state.get(&(event_type.to_owned(), state_key.to_owned())) {
                    seen.push(self.event(id).clone());
                } else if let Some(cited) = self.cited(event, event_type, state_key)
                    && self.on("M5.2")
                    && (!self.store.is_rejected(cited.event_id()) || !self.on("M5.3"))
                {
                    seen.push(cited.clone());
                }
            }
            if check(event, &seen).is_ok() || !checked || !self.on("M5.1") {
                let place = (event.event_type().to_owned(), event.state_key().unwrap().to_owned());
                state.insert(place, id.clone());
            }
        }
        state
    }
}
