//! `ruma-state-res`, with everything it may ask for in memory.

use super::room::{Case, Room, State};
use crate::timed;
use ruma_common::room_version_rules::RoomVersionRules;
use ruma_common::{MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, UserId};
use ruma_events::{StateEventType, TimelineEventType};
use ruma_state_res::utils::event_id_set::EventIdSet;
use ruma_state_res::{Event, StateMap};
use serde_json::value::RawValue;
use state_res::ids::{EventKey, StateKeyId};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use state_res::tree::{self, MemoryNodes, Root};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// All events of a room, as ruma wants them.
pub(crate) struct Known {
    by_number: Vec<OwnedEventId>,
    events: HashMap<OwnedEventId, Arc<Parsed>>,
}

/// What resolving once took, and gave.
pub(crate) struct Resolved {
    pub(crate) root: Root,
    pub(crate) chains: Duration,
    pub(crate) resolving: Duration,
}

impl Known {
    pub(crate) fn new(room: &Room) -> Self {
        let events: Vec<Arc<Parsed>> = room.events.iter().map(|event| Arc::new(Parsed::new(event))).collect();
        Known {
            by_number: events.iter().map(|event| event.event_id.clone()).collect(),
            events: events.into_iter().map(|event| (event.event_id.clone(), event)).collect(),
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
        let rules: RoomVersionRules = RoomVersionId::try_from(version.as_str()).unwrap().rules().unwrap();
        let (chains, chains_time) = timed(|| states.iter().map(|state| self.chain(state.values())).collect());
        let (resolved, resolving) = timed(|| {
            ruma_state_res::resolve(
                &rules.authorization,
                rules.state_res.v2_rules().unwrap(),
                states,
                chains,
                |event| self.events.get(event).cloned(),
                |conflicted| Some(self.subgraph(conflicted)),
            )
            .unwrap()
        });
        let entries: Vec<_> = resolved
            .iter()
            .map(|((ty, key), event)| (StateKeyId::of(&ty.to_string(), key), EventKey::of(event.as_str())))
            .collect();
        let (root, _) = tree::insert(&MemoryNodes::default(), Root::EMPTY, &entries).unwrap();
        Resolved { root, chains: chains_time, resolving }
    }

    /// The auth chain of these events together.
    fn chain<'a>(&'a self, from: impl Iterator<Item = &'a OwnedEventId>) -> EventIdSet<OwnedEventId> {
        let mut chain = EventIdSet::new();
        let mut stack: Vec<&OwnedEventId> = from.collect();
        while let Some(event) = stack.pop() {
            for cited in &self.events[event].auth_events {
                if !chain.contains(cited) {
                    chain.insert(cited.clone());
                    stack.push(cited);
                }
            }
        }
        chain
    }

    /// What lies between conflicted events: of their chains, what leads back to one of them.
    fn subgraph(&self, conflicted: &StateMap<Vec<OwnedEventId>>) -> EventIdSet<OwnedEventId> {
        let conflicted: Vec<&OwnedEventId> = conflicted.values().flatten().collect();
        let below = self.chain(conflicted.iter().copied());
        let mut cited_by: HashMap<&OwnedEventId, Vec<&OwnedEventId>> = HashMap::new();
        for event in below.iter().chain(conflicted.iter().copied()) {
            for cited in &self.events[event].auth_events {
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

pub(crate) struct Parsed {
    event_id: OwnedEventId,
    room_id: Option<OwnedRoomId>,
    sender: OwnedUserId,
    ts: MilliSecondsSinceUnixEpoch,
    event_type: TimelineEventType,
    content: Box<RawValue>,
    state_key: Option<String>,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
}

impl Parsed {
    fn new(event: &Pdu) -> Self {
        let ids = |ids: &[String]| ids.iter().map(|id| id.as_str().try_into().unwrap()).collect();
        Parsed {
            event_id: event.event_id().try_into().unwrap(),
            room_id: event.has_room_id().then(|| event.room_id().try_into().unwrap()),
            sender: event.sender().try_into().unwrap(),
            ts: MilliSecondsSinceUnixEpoch(event.origin_server_ts().try_into().unwrap()),
            event_type: event.event_type().into(),
            content: RawValue::from_string(String::from_utf8(event.content_json().to_vec()).unwrap()).unwrap(),
            state_key: event.state_key().map(str::to_owned),
            prev_events: ids(event.prev_events()),
            auth_events: ids(event.auth_events()),
        }
    }
}

impl Event for Parsed {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.event_id
    }

    fn room_id(&self) -> Option<&RoomId> {
        self.room_id.as_deref()
    }

    fn sender(&self) -> &UserId {
        &self.sender
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.ts
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.event_type
    }

    fn content(&self) -> &RawValue {
        &self.content
    }

    fn state_key(&self) -> Option<&str> {
        self.state_key.as_deref()
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.prev_events.iter())
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.auth_events.iter())
    }

    fn redacts(&self) -> Option<&OwnedEventId> {
        None
    }

    fn rejected(&self) -> bool {
        false
    }
}
