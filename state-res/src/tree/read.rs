//! Looking up and listing entries.

use super::{
    Entry, NodeHash, Nodes, Root, TreeError,
    node::{Leaf, Node, Prefix, digit},
};
use crate::ids::{EventKey, StateKeyId};
use std::collections::BTreeMap;

/// The event that holds `key` in the state `root`, `None` if the state has no such entry.
///
/// # Errors
/// When a node on the way is missing, corrupt or unreadable.
pub fn get<N: Nodes + ?Sized>(nodes: &N, root: Root, key: StateKeyId) -> Result<Option<EventKey>, TreeError<N::Error>> {
    let Some(mut hash) = root.node() else { return Ok(None) };
    let mut expected = Prefix::NONE;
    loop {
        match Node::load(nodes, hash, &expected)? {
            Node::Leaf(entries) => {
                let found = entries.binary_search_by(|(at, _)| at.cmp(&key));
                return Ok(found.ok().and_then(|at| entries.get(at)).map(|(_, event)| *event));
            }
            Node::Branch(branch) => {
                if !branch.prefix.matches(key.as_bytes()) {
                    return Ok(None);
                }
                let next = digit(key.as_bytes(), branch.prefix.len());
                let Some(child) = branch.child(next) else { return Ok(None) };
                hash = child;
                expected = branch.prefix.child(next);
            }
        }
    }
}

/// The events that hold these keys in the state `root`, in their order: as [`get`] of each, but reading each node once, and all
/// of one level together.
///
/// # Errors
/// When a node on the way is missing, corrupt or unreadable.
pub fn get_all<N: Nodes + ?Sized>(
    nodes: &N,
    root: Root,
    keys: &[StateKeyId],
) -> Result<Vec<Option<EventKey>>, TreeError<N::Error>> {
    let mut found = vec![None; keys.len()];
    // The nodes of a level and where they stand, each with the numbers of the keys to look for below it.
    let mut level: BTreeMap<(NodeHash, Prefix), Vec<usize>> = BTreeMap::new();
    level.extend(root.node().map(|hash| ((hash, Prefix::NONE), (0..keys.len()).collect())));
    while !level.is_empty() {
        let wanted: Vec<_> = level.keys().copied().collect();
        let read = Node::load_all(nodes, &wanted)?;
        for (node, below) in read.into_iter().zip(std::mem::take(&mut level).into_values()) {
            for number in below {
                let key = keys[number];
                match &node {
                    Node::Leaf(entries) => {
                        let at = entries.binary_search_by(|(at, _)| at.cmp(&key)).ok();
                        found[number] = at.and_then(|at| entries.get(at)).map(|(_, event)| *event);
                    }
                    Node::Branch(branch) if branch.prefix.matches(key.as_bytes()) => {
                        let next = digit(key.as_bytes(), branch.prefix.len());
                        if let Some(child) = branch.child(next) {
                            level.entry((child, branch.prefix.child(next))).or_default().push(number);
                        }
                    }
                    Node::Branch(_) => {}
                }
            }
        }
    }
    Ok(found)
}

/// How many entries the state `root` has. Reads one node.
///
/// # Errors
/// When that node is missing, corrupt or unreadable.
pub fn count<N: Nodes + ?Sized>(nodes: &N, root: Root) -> Result<u32, TreeError<N::Error>> {
    match root.node() {
        None => Ok(0),
        Some(hash) => Ok(Node::load(nodes, hash, &Prefix::NONE)?.count()),
    }
}

/// All entries of the state `root`, by ascending key, read as the iterator advances. It ends after an error.
pub fn entries<N: Nodes + ?Sized>(nodes: &N, root: Root) -> Entries<'_, N> {
    Entries::new(nodes, root, Prefix::NONE)
}

/// The entries of one event type in the state `root`, by ascending key. Reads only the part of the tree that holds
/// them. (Another type with the same first 32 bits of SHA-256 would be listed too: whoever reads the events checks.)
pub fn entries_of_type<'a, N: Nodes + ?Sized>(nodes: &'a N, root: Root, event_type: &str) -> Entries<'a, N> {
    Entries::new(nodes, root, Prefix::of_type(StateKeyId::type_prefix(event_type)))
}

/// An iterator over entries of a state, by ascending key. See [`entries`] and [`entries_of_type`].
pub struct Entries<'a, N: Nodes + ?Sized> {
    nodes: &'a N,
    wanted: Prefix,
    /// Nodes still to visit, the next one last.
    stack: Vec<(NodeHash, Prefix)>,
    leaf: smallvec::IntoIter<[Entry; super::LEAF_MAX]>,
}

impl<'a, N: Nodes + ?Sized> Entries<'a, N> {
    fn new(nodes: &'a N, root: Root, wanted: Prefix) -> Self {
        Entries::below(nodes, root.node(), Prefix::NONE, wanted)
    }

    /// The entries below a node that stands where all keys begin with `expected`.
    pub(super) fn below(nodes: &'a N, node: Option<NodeHash>, expected: Prefix, wanted: Prefix) -> Self {
        let stack = node.map(|hash| (hash, expected)).into_iter().collect();
        Entries { nodes, wanted, stack, leaf: Leaf::new().into_iter() }
    }
}

impl<N: Nodes + ?Sized> Iterator for Entries<'_, N> {
    type Item = Result<Entry, TreeError<N::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            for entry in self.leaf.by_ref() {
                if self.wanted.matches(entry.0.as_bytes()) {
                    return Some(Ok(entry));
                }
            }
            let (hash, expected) = self.stack.pop()?;
            match Node::load(self.nodes, hash, &expected) {
                Ok(Node::Leaf(leaf)) => self.leaf = leaf.into_iter(),
                Ok(Node::Branch(branch)) => {
                    let first = self.stack.len();
                    for (digit, child) in branch.iter() {
                        let prefix = branch.prefix.child(digit);
                        if prefix.agrees_with(&self.wanted) {
                            self.stack.push((child, prefix));
                        }
                    }
                    self.stack[first..].reverse();
                }
                Err(error) => {
                    self.stack.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}
