//! `ruma-state-res` on our events. It is an oracle for room versions 2 to 12; nothing but tests uses it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use ruma_common::{
    EventId, OwnedEventId, RoomVersionId,
    room_version_rules::{AuthorizationRules, RoomVersionRules},
};
use ruma_events::StateEventType;
use ruma_state_res::{StateMap, utils::event_id_set::EventIdSet};
use state_res::{pdu::Pdu, room_version::RoomVersion};

use crate::ruma_event::RumaEvent;

pub fn version_rules(version: RoomVersion) -> RoomVersionRules {
    RoomVersionId::try_from(version.as_str()).unwrap().rules().unwrap()
}

/// Whether the oracle allows an event in a state.
pub fn check(rules: &AuthorizationRules, event: &Pdu, state: &[Pdu]) -> Result<(), String> {
    let state: Vec<_> = state.iter().map(|event| RumaEvent::new(event, false)).collect();
    let find = |event_type: &StateEventType, state_key: &str| {
        let wanted = event_type.to_string();
        state.iter().find(|e| e.event_type.to_string() == wanted && e.state_key.as_deref() == Some(state_key)).cloned()
    };
    ruma_state_res::check_state_dependent_auth_rules(rules, RumaEvent::new(event, false), find)
}

/// Whether the oracle allows an event with these auth events, some of them rejected; for a create event, whether it allows
/// that.
pub fn check_auth_events(rules: &AuthorizationRules, event: &Pdu, known: &[(Pdu, bool)]) -> Result<(), String> {
    let known: BTreeMap<_, _> =
        known.iter().map(|(event, rejected)| (event.event_id().to_owned(), RumaEvent::new(event, *rejected))).collect();
    let fetch = |id: &EventId| known.get(id.as_str()).cloned();
    ruma_state_res::check_state_independent_auth_rules(rules, RumaEvent::new(event, false), fetch)
}

/// Resolves states, given as event ids by place, as the oracle does.
pub fn resolve(
    version: RoomVersion,
    states: &[BTreeMap<(String, String), String>],
    events: &BTreeMap<String, Pdu>,
    rejected: &BTreeSet<String>,
) -> Result<BTreeMap<(String, String), String>, String> {
    let id = |id: &str| <OwnedEventId>::try_from(id).unwrap();
    let events: HashMap<String, Arc<RumaEvent>> =
        events.iter().map(|(id, event)| (id.clone(), RumaEvent::new(event, rejected.contains(id)))).collect();
    let maps: Vec<StateMap<OwnedEventId>> = states
        .iter()
        .map(|state| {
            state
                .iter()
                .map(|((ty, key), event)| ((StateEventType::from(ty.as_str()), key.clone()), id(event)))
                .collect()
        })
        .collect();
    let chain = |roots: Vec<String>| {
        let mut chain = BTreeSet::new();
        let mut stack = roots;
        while let Some(at) = stack.pop() {
            for cited in &events[&at].auth_events {
                if chain.insert(cited.to_string()) {
                    stack.push(cited.to_string());
                }
            }
        }
        chain
    };
    let chains: Vec<EventIdSet<OwnedEventId>> = states
        .iter()
        .map(|state| chain(state.values().cloned().collect()).iter().map(|event| id(event)).collect())
        .collect();
    // The definition, taken literally: what is on a way from one conflicted event to another.
    let subgraph = |conflicted: &StateMap<Vec<OwnedEventId>>| {
        let conflicted: BTreeSet<String> = conflicted.values().flatten().map(ToString::to_string).collect();
        let mut candidates = chain(conflicted.iter().cloned().collect());
        candidates.extend(conflicted.iter().cloned());
        let leads = |event: &String| conflicted.contains(event) || !chain(vec![event.clone()]).is_disjoint(&conflicted);
        Some(candidates.iter().filter(|event| leads(event)).map(|event| id(event)).collect())
    };
    let rules = version_rules(version);
    let resolved = ruma_state_res::resolve(
        &rules.authorization,
        rules.state_res.v2_rules().unwrap(),
        &maps,
        chains,
        |event| events.get(event.as_str()).cloned(),
        subgraph,
    );
    let resolved = resolved.map_err(|error| error.to_string())?;
    Ok(resolved.into_iter().map(|((ty, key), event)| ((ty.to_string(), key), event.to_string())).collect())
}
