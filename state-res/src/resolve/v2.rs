//! The algorithm of room version 2, and as room version 12 changes it ("State resolution").

use std::collections::BTreeSet;

use super::{
    Changes, ResolveError, Room, auth_difference::auth_difference, between::between, checks::Partial,
    conflicts::Conflicts, graph::Graph, order,
};
use crate::{
    auth::Membership,
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
};

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// Room versions 2 to 11.
    V2,
    /// Room version 12: from an empty state, with the conflicted state subgraph.
    V2_1,
}

/// What to change in the first of the states to get the resolution.
pub(super) fn resolve<R: Room>(
    algorithm: Algorithm,
    conflicts: &Conflicts,
    graph: &mut Graph<'_, R>,
) -> Result<Changes, ResolveError<R::Failure>> {
    let sets = sets(algorithm, conflicts, graph)?;

    // 1. The power events, with what of their auth chains belongs to the full conflicted set.
    let sorted = order::by_power(graph, &sets.power_events)?;

    // 2. The partially resolved state.
    let mut state = Partial::new(conflicts, algorithm == Algorithm::V2);
    state.apply_allowed(graph, &sorted)?;

    // 3. All others, by mainline.
    let power_levels = state.get(graph, StateKeyId::of("m.room.power_levels", ""))?;
    let others: BTreeSet<EventKey> = sets.full().difference(&sets.power_events).copied().collect();
    let sorted = order::by_mainline(graph, &others, power_levels)?;

    // 4.
    state.apply_allowed(graph, &sorted)?;

    // 5. What no state disputes stays.
    let mut changes: Vec<_> = conflicts.keys().map(|key| (key, state.applied.get(&key).copied())).collect();
    for (key, event) in &state.applied {
        if !conflicts.contains(*key) && graph.in_state(conflicts.base(), *key)?.is_none() {
            changes.push((*key, Some(*event)));
        }
    }
    Ok(changes)
}

/// The sets of events that the algorithm makes on its way (room version 2, "Definitions" and "Algorithm").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sets {
    /// The *conflicted state set*.
    pub conflicted: BTreeSet<EventKey>,
    /// The *auth difference*.
    pub auth_difference: BTreeSet<EventKey>,
    /// The *conflicted state subgraph*; empty before room version 12.
    pub subgraph: BTreeSet<EventKey>,
    /// *X* of step 1: the power events of the full conflicted set, with what of it is in their auth chains.
    pub power_events: BTreeSet<EventKey>,
}

impl Sets {
    /// The *full conflicted set*.
    #[must_use]
    pub fn full(&self) -> BTreeSet<EventKey> {
        let parts = [&self.conflicted, &self.auth_difference, &self.subgraph];
        parts.into_iter().flatten().copied().collect()
    }
}

pub(super) fn sets<R: Room>(
    algorithm: Algorithm,
    conflicts: &Conflicts,
    graph: &mut Graph<'_, R>,
) -> Result<Sets, ResolveError<R::Failure>> {
    let conflicted = conflicts.events();
    let auth_difference = auth_difference(conflicts, graph)?;
    let subgraph = match algorithm {
        Algorithm::V2 => BTreeSet::new(),
        // What lies on a way from one conflicted event to another.
        Algorithm::V2_1 => between(graph, &conflicted, &conflicted)?,
    };
    let mut sets = Sets { conflicted, auth_difference, subgraph, power_events: BTreeSet::new() };
    let mut others = BTreeSet::new();
    let full = sets.full();
    graph.read_events(full.iter().copied())?;
    for key in full {
        let is_power_event = is_power_event(&graph.event(key)?);
        if is_power_event {
            sets.power_events.insert(key)
        } else {
            others.insert(key)
        };
    }
    let chains = between(graph, &sets.power_events, &others)?;
    sets.power_events.extend(chains.intersection(&others));
    Ok(sets)
}

/// Whether this is a *power event*: one that might remove someone's ability to do something in the room.
fn is_power_event(event: &Pdu) -> bool {
    match event.event_type() {
        "m.room.power_levels" | "m.room.join_rules" => event.is_state(),
        "m.room.member" => {
            matches!(Membership::in_content(event.content()), Membership::Leave | Membership::Ban)
                && event.state_key().is_some_and(|target| target != event.sender())
        }
        _ => false,
    }
}
