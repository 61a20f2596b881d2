//! `ruma-state-res`, with everything it may ask for in memory.

use super::room::{Case, Room, State};
use crate::ruma_event::RumaEvent;
use crate::timed;
use ruma_common::room_version_rules::RoomVersionRules;
use ruma_common::{OwnedEventId, RoomVersionId};
use ruma_events::StateEventType;
use ruma_state_res::StateMap;
use ruma_state_res::utils::event_id_set::EventIdSet;
use state_res::ids::{EventKey, StateKeyId};
use state_res::room_version::RoomVersion;
use state_res::tree::{self, MemoryNodes, Root};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// All events of a room, as ruma wants them.
pub(crate) struct Known {
    by_number: Vec<OwnedEventId>,
    events: Events,
}

/// Events by their ids.
#[derive(Default)]
pub(crate) struct Events(pub(crate) HashMap<OwnedEventId, Arc<RumaEvent>>);

/// What resolving once took, and gave.
pub(crate) struct Resolved {
    pub(crate) root: Root,
    pub(crate) chains: Duration,
    pub(crate) resolving: Duration,
}

impl Known {
    pub(crate) fn new(room: &Room) -> Self {
        let events: Vec<Arc<RumaEvent>> = room.events.iter().map(|event| RumaEvent::new(event, false)).collect();
        Known {
            by_number: events.iter().map(|event| event.event_id.clone()).collect(),
            events: Events(events.into_iter().map(|event| (event.event_id.clone(), event)).collect()),
        }
    }

    pub(crate) fn states(&self, case: &Case) -> [StateMap<OwnedEventId>; 2] {
        let map = |state: &State| {
            let entry = |((ty, key), event): ((&String, &String), &usize)| {
                ((StateEventType::from(ty.as_str()), key.clone()), self.by_number[*event].clone())
            };
            state.iter().map(|(place, event)| entry(((&place.0, &place.1), event))).collect()
        };
        [map(&case.states[0]), map(&case.states[1])]
    }

    pub(crate) fn resolve(&self, version: RoomVersion, states: &[StateMap<OwnedEventId>; 2]) -> Resolved {
        let (chains, chains_time) = timed(|| states.iter().map(|state| self.events.chain(state.values())).collect());
        let (resolved, resolving) = timed(|| self.events.resolve(version, states, chains));
        let entries: Vec<_> = resolved
            .iter()
            .map(|((ty, key), event)| (StateKeyId::of(&ty.to_string(), key), EventKey::of(event.as_str())))
            .collect();
        let (root, _) = tree::insert(&MemoryNodes::default(), Root::EMPTY, &entries).unwrap();
        Resolved { root, chains: chains_time, resolving }
    }
}

impl Events {
    pub(crate) fn resolve(
        &self,
        version: RoomVersion,
        states: &[StateMap<OwnedEventId>; 2],
        chains: Vec<EventIdSet<OwnedEventId>>,
    ) -> StateMap<OwnedEventId> {
        let rules: RoomVersionRules = RoomVersionId::try_from(version.as_str()).unwrap().rules().unwrap();
        ruma_state_res::resolve(
            &rules.authorization,
            rules.state_res.v2_rules().unwrap(),
            states,
            chains,
            |event| self.0.get(event).cloned(),
            |conflicted| Some(self.subgraph(conflicted)),
        )
        .unwrap()
    }

    /// The auth chain of these events together.
    pub(crate) fn chain<'a>(&'a self, from: impl Iterator<Item = &'a OwnedEventId>) -> EventIdSet<OwnedEventId> {
        let mut chain = EventIdSet::new();
        self.extend_chain(&mut chain, from);
        chain
    }

    /// Adds the auth chain of these events to one.
    pub(crate) fn extend_chain<'a>(
        &'a self,
        chain: &mut EventIdSet<OwnedEventId>,
        from: impl Iterator<Item = &'a OwnedEventId>,
    ) {
        let mut stack: Vec<&OwnedEventId> = from.collect();
        while let Some(event) = stack.pop() {
            for cited in &self.0[event].auth_events {
                if !chain.contains(cited) {
                    chain.insert(cited.clone());
                    stack.push(cited);
                }
            }
        }
    }

    /// What lies between conflicted events: of their chains, what leads back to one of them.
    fn subgraph(&self, conflicted: &StateMap<Vec<OwnedEventId>>) -> EventIdSet<OwnedEventId> {
        let conflicted: Vec<&OwnedEventId> = conflicted.values().flatten().collect();
        let below = self.chain(conflicted.iter().copied());
        let mut cited_by: HashMap<&OwnedEventId, Vec<&OwnedEventId>> = HashMap::new();
        for event in below.iter().chain(conflicted.iter().copied()) {
            for cited in &self.0[event].auth_events {
                cited_by.entry(cited).or_default().push(event);
            }
        }
        let mut leading = EventIdSet::new();
        let mut stack = conflicted;
        while let Some(event) = stack.pop() {
            if leading.insert(event.clone()) {
                stack.extend(cited_by.get(event).into_iter().flatten());
            }
        }
        leading
    }
}
