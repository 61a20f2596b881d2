//! In what the states differ.

use std::collections::{BTreeMap, BTreeSet};

use super::states::States;
use crate::{
    ids::{EventKey, StateKeyId},
    tree::{self, Nodes, Root, TreeError},
};

/// The entries in which several states differ, by key, with each state's event.
pub(super) struct Conflicts {
    base: Root,
    /// How many states there are, equal ones counted once.
    states: usize,
    /// For each key one event, or none, of each state.
    entries: BTreeMap<StateKeyId, Vec<Option<EventKey>>>,
}

impl Conflicts {
    /// What differs between these states; `None` if nothing does.
    pub(super) fn between<N: Nodes>(nodes: &N, roots: &[Root]) -> Result<Option<Self>, TreeError<N::Error>> {
        let Some((&base, others)) = roots.split_first() else { return Ok(None) };
        let others: BTreeSet<Root> = others.iter().copied().filter(|root| *root != base).collect();
        if others.is_empty() {
            return Ok(None);
        }
        let states = 1 + others.len();
        let mut entries = BTreeMap::new();
        for (at, other) in others.into_iter().enumerate() {
            for change in tree::diff(nodes, base, other)? {
                // Until a difference shows, a state has what the base has.
                let events = entries.entry(change.key).or_insert_with(|| vec![change.left; states]);
                events[at + 1] = change.right;
            }
        }
        Ok(Some(Conflicts { base, states, entries }))
    }

    /// The first of the states. The entries in which no state differs from another are those of this one that are not
    /// [`Self::contains`]ed.
    pub(super) fn base(&self) -> Root {
        self.base
    }

    /// How many different states there are.
    pub(super) fn states(&self) -> usize {
        self.states
    }

    /// Whether the states differ in this key.
    pub(super) fn contains(&self, key: StateKeyId) -> bool {
        self.entries.contains_key(&key)
    }

    /// The keys in which the states differ, each with its different events.
    pub(super) fn iter(&self) -> impl Iterator<Item = (StateKeyId, BTreeSet<EventKey>)> + '_ {
        self.entries.iter().map(|(key, events)| (*key, events.iter().flatten().copied().collect()))
    }

    /// The keys in which the states differ.
    pub(super) fn keys(&self) -> impl Iterator<Item = StateKeyId> + '_ {
        self.entries.keys().copied()
    }

    /// All events of all states under the keys in which they differ: from room version 2 the *conflicted state set*.
    pub(super) fn events(&self) -> BTreeSet<EventKey> {
        self.entries.values().flatten().flatten().copied().collect()
    }

    /// The conflicted events, each with the states that have it.
    pub(super) fn holders(&self) -> BTreeMap<EventKey, States> {
        let mut holders: BTreeMap<EventKey, States> = BTreeMap::new();
        for events in self.entries.values() {
            for (state, event) in events.iter().enumerate() {
                if let Some(event) = event {
                    holders.entry(*event).or_default().insert(state);
                }
            }
        }
        holders
    }

    /// One state's events under the keys in which the states differ.
    pub(super) fn events_of(&self, state: usize) -> BTreeSet<EventKey> {
        self.entries.values().filter_map(|events| events.get(state).copied().flatten()).collect()
    }
}
