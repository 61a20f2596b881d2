//! The algorithm of room version 2, and as room version 12 changes it ("State resolution").

use std::collections::BTreeSet;

use super::{
    Changes, ResolveError, Room, auth_difference::auth_difference, checks::Partial, conflicts::Conflicts, graph::Graph,
    order,
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
    let conflicted = conflicts.events();
    let mut full_conflicted_set = auth_difference(conflicts, graph)?;
    full_conflicted_set.extend(&conflicted);
    if algorithm == Algorithm::V2_1 {
        // The conflicted state subgraph: what lies on a way from one conflicted event to another.
        full_conflicted_set.extend(graph.leading_to(&conflicted, &conflicted)?);
    }

    // 1. The power events, with what of their auth chains belongs to the full conflicted set.
    let mut power_events = BTreeSet::new();
    for key in &full_conflicted_set {
        if is_power_event(&graph.event(*key)?) {
            power_events.insert(*key);
        }
    }
    let chains = graph.chains(power_events.iter().copied())?;
    power_events.extend(chains.intersection(&full_conflicted_set));
    let sorted = order::by_power(graph, &power_events)?;

    // 2. The partially resolved state.
    let mut state = Partial::new(conflicts, algorithm == Algorithm::V2);
    state.apply_allowed(graph, &sorted)?;

    // 3. All others, by mainline.
    let power_levels = state.get(graph, StateKeyId::of("m.room.power_levels", ""))?;
    let others: BTreeSet<EventKey> = full_conflicted_set.difference(&power_events).copied().collect();
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
