//! The auth difference: what is in the auth chain of some states and not of all.

use std::collections::{BTreeMap, BTreeSet};

use super::{ResolveError, Room, conflicts::Conflicts, graph::Graph};
use crate::{ids::EventKey, tree};

/// The *auth difference* of the states (room version 2, "Definitions"): ∪Cᵢ − ∩Cᵢ, where Cᵢ is the auth chain of all
/// events of state i.
///
/// Let Kᵢ be the auth chain of the events of state i under keys in which the states differ, and U that of the others,
/// which all states share. Then Cᵢ = Kᵢ ∪ U, so ∪Cᵢ = ∪Kᵢ ∪ U and ∩Cᵢ = ∩Kᵢ ∪ U, and the difference is
/// (∪Kᵢ − ∩Kᵢ) − U. The first part needs the conflicted events' chains only, and the walk through U ends as soon as it has
/// met all of it.
pub(super) fn auth_difference<R: Room>(
    conflicts: &Conflicts,
    graph: &mut Graph<'_, R>,
) -> Result<BTreeSet<EventKey>, ResolveError<R::Failure>> {
    let mut in_chains: BTreeMap<EventKey, usize> = BTreeMap::new();
    for state in 0..conflicts.states() {
        for key in graph.chains(conflicts.events_of(state))? {
            *in_chains.entry(key).or_default() += 1;
        }
    }
    let mut difference: BTreeSet<EventKey> =
        in_chains.into_iter().filter(|(_, chains)| *chains < conflicts.states()).map(|(key, _)| key).collect();

    let room = graph.room();
    let mut walked: BTreeSet<EventKey> = BTreeSet::new();
    for entry in tree::entries(room, conflicts.base()) {
        if difference.is_empty() {
            break;
        }
        let (key, event) = entry?;
        if conflicts.contains(key) {
            continue;
        }
        let mut stack = vec![event];
        while let Some(event) = stack.pop() {
            for auth_event in graph.auth_events(event)?.iter() {
                if walked.insert(*auth_event) {
                    difference.remove(auth_event);
                    stack.push(*auth_event);
                }
            }
        }
    }
    Ok(difference)
}
