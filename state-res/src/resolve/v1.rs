//! The algorithm of room version 1 ("State resolution").

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use sha1::{Digest, Sha1};

use super::{Changes, ResolveError, Room, conflicts::Conflicts, graph::Graph};
use crate::{
    auth,
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
};

/// The types whose conflicts are resolved first, in this order, because other events depend on them.
const PASSES: [&str; 3] = ["m.room.power_levels", "m.room.join_rules", "m.room.member"];

/// What to change in the first of the states to get the resolution.
pub(super) fn resolve<R: Room>(
    conflicts: &Conflicts,
    graph: &mut Graph<'_, R>,
) -> Result<Changes, ResolveError<R::Failure>> {
    // R: what is in any state, but for keys under which there are different events.
    let mut resolved = Resolved { conflicts, events: BTreeMap::new() };
    let mut disputed: Vec<(StateKeyId, Vec<Pdu>)> = Vec::new();
    for (key, events) in conflicts.iter() {
        let events = events.iter().map(|event| graph.event(*event)).collect::<Result<Vec<_>, _>>()?;
        match events.as_slice() {
            [only] => {
                resolved.events.insert(key, only.key());
            }
            _ => disputed.push((key, events)),
        }
    }

    for event_type in PASSES {
        let mut outcomes = Vec::new();
        for (key, events) in of_type(&disputed, |of| of == event_type) {
            outcomes.extend(resolved.last_allowed(graph, *key, events.clone())?.map(|event| (*key, event)));
        }
        resolved.events.extend(outcomes);
    }
    let mut outcomes = Vec::new();
    for (key, events) in of_type(&disputed, |of| !PASSES.contains(&of)) {
        outcomes.extend(resolved.newest_allowed(graph, events.clone())?.map(|event| (*key, event)));
    }
    resolved.events.extend(outcomes);

    let keys: BTreeSet<StateKeyId> = conflicts.keys().collect();
    Ok(keys.into_iter().map(|key| (key, resolved.events.get(&key).copied())).collect())
}

/// The disputed keys whose type is wanted. All events under one key are of one type.
fn of_type(
    disputed: &[(StateKeyId, Vec<Pdu>)],
    wanted: impl Fn(&str) -> bool,
) -> impl Iterator<Item = &(StateKeyId, Vec<Pdu>)> {
    disputed.iter().filter(move |(_, events)| events.first().is_some_and(|event| wanted(event.event_type())))
}

/// *R*, the results of the resolution so far, as far as they are not what all states have.
struct Resolved<'a> {
    conflicts: &'a Conflicts,
    events: BTreeMap<StateKeyId, EventKey>,
}

impl Resolved<'_> {
    /// Whether the rules allow an event in state *R*, in which `own`, if any, stands under `key`.
    fn allows<R: Room>(
        &self,
        graph: &mut Graph<'_, R>,
        event: &Pdu,
        own: Option<(StateKeyId, EventKey)>,
    ) -> Result<bool, ResolveError<R::Failure>> {
        let mut state = Vec::new();
        for (event_type, state_key) in auth::state_needed(event) {
            let needed = StateKeyId::of(event_type, state_key);
            let found = match own {
                Some((key, event)) if key == needed => Some(event),
                _ => match self.events.get(&needed) {
                    Some(event) => Some(*event),
                    None if self.conflicts.contains(needed) => None,
                    None => graph.in_state(self.conflicts.base(), needed)?,
                },
            };
            if let Some(found) = found {
                state.push(graph.event(found)?);
            }
        }
        Ok(auth::check(event, &state).is_ok())
    }

    /// For the types on which others depend: the last of the events, by ascending depth and descending SHA-1 of the id,
    /// before one that is not allowed in *R* with the one before it.
    fn last_allowed<R: Room>(
        &self,
        graph: &mut Graph<'_, R>,
        key: StateKeyId,
        mut events: Vec<Pdu>,
    ) -> Result<Option<EventKey>, ResolveError<R::Failure>> {
        events.sort_by_cached_key(|event| (event.depth(), Reverse(sha1(event))));
        let mut events = events.into_iter();
        let Some(first) = events.next() else { return Ok(None) };
        let mut current = first.key();
        for event in events {
            if !self.allows(graph, &event, Some((key, current)))? {
                break;
            }
            current = event.key();
        }
        Ok(Some(current))
    }

    /// For other types: the allowed event of the highest depth and lowest SHA-1 of the id.
    fn newest_allowed<R: Room>(
        &self,
        graph: &mut Graph<'_, R>,
        mut events: Vec<Pdu>,
    ) -> Result<Option<EventKey>, ResolveError<R::Failure>> {
        events.sort_by_cached_key(|event| (Reverse(event.depth()), sha1(event)));
        for event in events {
            if self.allows(graph, &event, None)? {
                return Ok(Some(event.key()));
            }
        }
        Ok(None)
    }
}

fn sha1(event: &Pdu) -> [u8; 20] {
    Sha1::digest(event.event_id().as_bytes()).into()
}
