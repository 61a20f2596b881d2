//! The auth difference: what is in the auth chain of some states and not of all.
//!
//! The *auth difference* of the states (room version 2, "Definitions") is ∪Cᵢ − ∩Cᵢ, where Cᵢ is the auth chain of all events
//! of state i. Let Kᵢ be the auth chain of the events of state i under keys in which the states differ, and U that of the
//! others, which all states share. Then Cᵢ = Kᵢ ∪ U, and the difference is (∪Kᵢ − ∩Kᵢ) − U.
//!
//! # By the index
//!
//! The walk goes down from the conflicted events, and asks of each event that it meets what is above it, as far as it takes
//! ([`Above`]). If an event on which all states agree is, then this one is in U, and so is all below it. If conflicted events
//! of all states are, then it is in all Kᵢ, and so is all below it. In both cases neither the search nor the walk need go on. If
//! not, all that is above it has been seen: it is in the difference. So the walk passes the events of the difference and,
//! besides, only what they cite directly; and what a search upwards passes in vain are events that only conflicted events
//! lead to, or none at all.
//!
//! Someone who fills a room with state events that end up in no state makes such searches longer. They have a budget of about
//! as many events as the state has. When that is spent, or where there is no index, the graph is walked whole.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ResolveError, Room,
    above::{Above, Chains},
    conflicts::Conflicts,
    graph::Graph,
};
use crate::{ids::EventKey, tree};

/// How many events a search may look at in rooms that have fewer.
const MIN_BUDGET: usize = 4096;

/// The auth difference of the states.
pub(super) fn auth_difference<R: Room>(
    conflicts: &Conflicts,
    graph: &mut Graph<'_, R>,
) -> Result<BTreeSet<EventKey>, ResolveError<R::Failure>> {
    match by_index(conflicts, graph)? {
        Some(difference) => Ok(difference),
        None => by_walking(conflicts, graph.room()),
    }
}

fn by_index<R: Room>(
    conflicts: &Conflicts,
    graph: &mut Graph<'_, R>,
) -> Result<Option<BTreeSet<EventKey>>, ResolveError<R::Failure>> {
    let budget = MIN_BUDGET.max(tree::count(graph.room(), conflicts.base())? as usize);
    let mut above = Above::new(conflicts, budget);
    let mut difference = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut layer: Vec<EventKey> = conflicts.events().into_iter().collect();
    graph.read_events_with_links(&layer)?;
    while !layer.is_empty() {
        let mut cited = Vec::new();
        for event in layer.drain(..) {
            cited.extend(graph.links(event)?.auth_events.iter().copied().filter(|cited| seen.insert(*cited)));
        }
        graph.read_links(cited.iter().copied())?;
        if !above.read_ahead(graph, &cited)? {
            return Ok(None);
        }
        // The highest first: if one turns out to be in U, so is what is below it.
        let generation = |event| graph.known_links(event).and_then(|links| links.generation);
        let mut sorted: Vec<_> = cited.into_iter().map(|event| (generation(event), event)).collect();
        sorted.sort_unstable_by_key(|(generation, event)| (std::cmp::Reverse(*generation), *event));
        for (_, event) in sorted {
            match above.of(graph, event)? {
                None => return Ok(None),
                Some(Chains::All) => {}
                Some(Chains::Some(_)) => {
                    difference.insert(event);
                    layer.push(event);
                }
            }
        }
    }
    Ok(Some(difference))
}

/// The same by walking the chains of all conflicted events, and as much of U as it takes to meet all of it that is in them.
/// Nothing but the events' keys is kept.
fn by_walking<R: Room>(conflicts: &Conflicts, room: &R) -> Result<BTreeSet<EventKey>, ResolveError<R::Failure>> {
    let mut in_chains: BTreeMap<EventKey, usize> = BTreeMap::new();
    for state in 0..conflicts.states() {
        let mut chain = BTreeSet::new();
        for event in conflicts.events_of(state) {
            walk(room, event, &mut chain, |_| ())?;
        }
        for event in chain {
            *in_chains.entry(event).or_default() += 1;
        }
    }
    let mut difference: BTreeSet<EventKey> =
        in_chains.into_iter().filter(|(_, chains)| *chains < conflicts.states()).map(|(key, _)| key).collect();

    let mut walked = BTreeSet::new();
    for entry in tree::entries(room, conflicts.base()) {
        if difference.is_empty() {
            break;
        }
        let (key, event) = entry?;
        if !conflicts.contains(key) {
            walk(room, event, &mut walked, |event| {
                difference.remove(&event);
            })?;
        }
    }
    Ok(difference)
}

/// Adds the auth chain of an event to `chain`, and calls `new` for what was not in there.
fn walk<R: Room>(
    room: &R,
    event: EventKey,
    chain: &mut BTreeSet<EventKey>,
    mut new: impl FnMut(EventKey),
) -> Result<(), ResolveError<R::Failure>> {
    let mut stack = vec![event];
    while let Some(event) = stack.pop() {
        let links = room.links(event).map_err(ResolveError::Fetch)?.ok_or(ResolveError::Missing(event))?;
        for cited in links.auth_events {
            if chain.insert(cited) {
                new(cited);
                stack.push(cited);
            }
        }
    }
    Ok(())
}
