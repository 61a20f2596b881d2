//! Changing a state: the new root and the nodes that it needs.

use std::collections::BTreeMap;

use super::{
    Entry, LEAF_MAX, NodeHash, Nodes, Root, TreeError,
    node::{Branch, FANOUT, Node, Prefix, digit, encode_leaf},
};
use crate::ids::{EventKey, StateKeyId};

/// Nodes made by a change, to be stored with whatever refers to the new root. Storing one twice does no harm.
pub type NewNodes = Vec<(NodeHash, Vec<u8>)>;

type Change = (StateKeyId, Option<EventKey>);

/// The state `root` with these entries set, and the nodes it needs that `root` did not have. Of two entries for one
/// key the later counts.
///
/// # Errors
/// When a node is missing, corrupt or unreadable.
pub fn insert<N: Nodes + ?Sized>(
    nodes: &N,
    root: Root,
    entries: &[Entry],
) -> Result<(Root, NewNodes), TreeError<N::Error>> {
    let changes: Vec<Change> = entries.iter().map(|(key, event)| (*key, Some(*event))).collect();
    update(nodes, root, &changes)
}

/// The state `root` without these keys, and the nodes it needs that `root` did not have. A key that `root` does not
/// have is no error.
///
/// # Errors
/// When a node is missing, corrupt or unreadable.
pub fn remove<N: Nodes + ?Sized>(
    nodes: &N,
    root: Root,
    keys: &[StateKeyId],
) -> Result<(Root, NewNodes), TreeError<N::Error>> {
    let changes: Vec<Change> = keys.iter().map(|key| (*key, None)).collect();
    update(nodes, root, &changes)
}

/// The state `root` with each key set to an event or, for `None`, removed; and the nodes it needs that `root` did not
/// have. Of two changes of one key the later counts.
///
/// # Errors
/// When a node is missing, corrupt or unreadable.
pub fn update<N: Nodes + ?Sized>(
    nodes: &N,
    root: Root,
    changes: &[(StateKeyId, Option<EventKey>)],
) -> Result<(Root, NewNodes), TreeError<N::Error>> {
    let sorted: Vec<Change> = changes.iter().copied().collect::<BTreeMap<_, _>>().into_iter().collect();
    let mut writer = Writer { nodes, new: Vec::new() };
    let top = match root.node() {
        None => writer.build(&inserts(&sorted)),
        Some(hash) => writer.update(hash, &Prefix::NONE, &sorted)?.subtree,
    };
    let root = writer.seal(top, root.node()).map_or(Root::EMPTY, Root::at);
    Ok((root, writer.new))
}

struct Writer<'a, N: Nodes + ?Sized> {
    nodes: &'a N,
    new: NewNodes,
}

/// A subtree after a change. A leaf is not written until it is known to stay one: it may yet become part of a larger.
enum Subtree {
    Empty,
    Leaf(Vec<Entry>),
    Branch { hash: NodeHash, count: u32 },
}

impl Subtree {
    fn count(&self) -> u32 {
        match self {
            Subtree::Empty => 0,
            Subtree::Leaf(entries) => entries.len() as u32,
            Subtree::Branch { count, .. } => *count,
        }
    }
}

struct Updated {
    subtree: Subtree,
    /// How many entries there were before.
    was: u32,
}

/// A child of a branch that is being changed.
enum Child {
    Untouched(NodeHash),
    Changed { subtree: Subtree, was: Option<NodeHash> },
}

/// Recursion goes down with the prefix, so never deeper than a key has digits.
impl<N: Nodes + ?Sized> Writer<'_, N> {
    fn update(
        &mut self,
        hash: NodeHash,
        expected: &Prefix,
        changes: &[Change],
    ) -> Result<Updated, TreeError<N::Error>> {
        let node = Node::load(self.nodes, hash, expected)?;
        let was = node.count();
        let subtree = match node {
            Node::Leaf(entries) => {
                let mut merged: BTreeMap<_, _> = entries.into_iter().collect();
                for (key, event) in changes {
                    match event {
                        Some(event) => merged.insert(*key, *event),
                        None => merged.remove(key),
                    };
                }
                self.build(&merged.into_iter().collect::<Vec<_>>())
            }
            Node::Branch(branch) => self.update_branch(hash, branch, changes)?,
        };
        Ok(Updated { subtree, was })
    }

    fn update_branch(
        &mut self,
        hash: NodeHash,
        branch: Branch,
        changes: &[Change],
    ) -> Result<Subtree, TreeError<N::Error>> {
        // Removing a key that is outside the branch's prefix changes nothing; setting one moves the branch down.
        let relevant: Vec<Change> = changes
            .iter()
            .filter(|(key, event)| event.is_some() || branch.prefix.matches(key.as_bytes()))
            .copied()
            .collect();
        let prefix = relevant.iter().fold(branch.prefix, |prefix, (key, _)| prefix.common_with(key.as_bytes()));
        if prefix.len() < branch.prefix.len() {
            return self.split_above(hash, branch, prefix, &relevant);
        }
        let mut children: Vec<(u8, Child)> = Vec::with_capacity(usize::from(FANOUT));
        let mut total = u64::from(branch.count);
        for at in 0..FANOUT {
            let group = group(&relevant, prefix.len(), at);
            let child = branch.child(at);
            match child {
                Some(child) if group.is_empty() => children.push((at, Child::Untouched(child))),
                None if group.is_empty() => {}
                _ => {
                    let updated = match child {
                        Some(child) => self.update(child, &prefix.child(at), group)?,
                        None => Updated { subtree: self.build(&inserts(group)), was: 0 },
                    };
                    total = (total + u64::from(updated.subtree.count()))
                        .checked_sub(u64::from(updated.was))
                        .ok_or(TreeError::Corrupt(hash))?;
                    if updated.subtree.count() > 0 {
                        children.push((at, Child::Changed { subtree: updated.subtree, was: child }));
                    }
                }
            }
        }
        let total = u32::try_from(total).map_err(|_| TreeError::Corrupt(hash))?;
        self.assemble(prefix, total, children, Some(hash))
    }

    /// Some keys set do not begin with the branch's prefix: a new branch at what they share stands above it.
    fn split_above(
        &mut self,
        hash: NodeHash,
        branch: Branch,
        prefix: Prefix,
        changes: &[Change],
    ) -> Result<Subtree, TreeError<N::Error>> {
        let towards = branch.prefix.digit(prefix.len());
        let mut branch = Some(branch);
        let mut children: Vec<(u8, Child)> = Vec::with_capacity(usize::from(FANOUT));
        let mut total = 0;
        for at in 0..FANOUT {
            let group = group(changes, prefix.len(), at);
            let subtree = match branch.take_if(|_| at == towards) {
                Some(below) => self.update_branch(hash, below, group)?,
                None => self.build(&inserts(group)),
            };
            total += subtree.count();
            if subtree.count() > 0 {
                children.push((at, Child::Changed { subtree, was: None }));
            }
        }
        self.assemble(prefix, total, children, None)
    }

    /// The canonical subtree of these children, which hold `total` entries: a leaf, a child alone, or a branch.
    fn assemble(
        &mut self,
        prefix: Prefix,
        total: u32,
        mut children: Vec<(u8, Child)>,
        was: Option<NodeHash>,
    ) -> Result<Subtree, TreeError<N::Error>> {
        if total as usize <= LEAF_MAX {
            let mut all = Vec::with_capacity(LEAF_MAX);
            for (at, child) in children {
                match child {
                    Child::Untouched(hash) => match Node::load(self.nodes, hash, &prefix.child(at))? {
                        Node::Leaf(entries) => all.extend(entries),
                        Node::Branch(_) => return Err(TreeError::Corrupt(hash)),
                    },
                    Child::Changed { subtree: Subtree::Leaf(entries), .. } => all.extend(entries),
                    Child::Changed { subtree: Subtree::Branch { hash, .. }, .. } => {
                        return Err(TreeError::Corrupt(hash));
                    }
                    Child::Changed { subtree: Subtree::Empty, .. } => {}
                }
            }
            return Ok(if all.is_empty() { Subtree::Empty } else { Subtree::Leaf(all) });
        }
        if children.len() == 1
            && let Some((_, only)) = children.pop()
        {
            // More entries than a leaf takes, all below one child, which is therefore a branch with a longer prefix.
            return Ok(match only {
                Child::Untouched(hash) => Subtree::Branch { hash, count: total },
                Child::Changed { subtree, .. } => subtree,
            });
        }
        let mut sealed = Vec::with_capacity(children.len());
        for (at, child) in children {
            let hash = match child {
                Child::Untouched(hash) => Some(hash),
                Child::Changed { subtree, was } => self.seal(subtree, was),
            };
            sealed.extend(hash.map(|hash| (at, hash)));
        }
        Ok(self.branch(prefix, total, sealed, was))
    }

    /// The canonical subtree of entries sorted by key.
    fn build(&mut self, entries: &[Entry]) -> Subtree {
        let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else { return Subtree::Empty };
        if entries.len() <= LEAF_MAX {
            return Subtree::Leaf(entries.to_vec());
        }
        let prefix = Prefix::common(first.as_bytes(), last.as_bytes());
        let mut children = Vec::with_capacity(usize::from(FANOUT));
        for at in 0..FANOUT {
            let subtree = self.build(group(entries, prefix.len(), at));
            children.extend(self.seal(subtree, None).map(|hash| (at, hash)));
        }
        self.branch(prefix, entries.len() as u32, children, None)
    }

    fn branch(&mut self, prefix: Prefix, count: u32, children: Vec<(u8, NodeHash)>, was: Option<NodeHash>) -> Subtree {
        let hash = self.write(Branch::new(prefix, count, children).encode(), was);
        Subtree::Branch { hash, count }
    }

    /// Writes a subtree's top node if it is not written yet. `was` is the node that stood here before.
    fn seal(&mut self, subtree: Subtree, was: Option<NodeHash>) -> Option<NodeHash> {
        match subtree {
            Subtree::Empty => None,
            Subtree::Leaf(entries) => Some(self.write(encode_leaf(&entries), was)),
            Subtree::Branch { hash, .. } => Some(hash),
        }
    }

    fn write(&mut self, bytes: Vec<u8>, was: Option<NodeHash>) -> NodeHash {
        let hash = NodeHash::of(&bytes);
        if was != Some(hash) {
            self.new.push((hash, bytes));
        }
        hash
    }
}

fn inserts(changes: &[Change]) -> Vec<Entry> {
    changes.iter().filter_map(|(key, event)| event.map(|event| (*key, event))).collect()
}

/// The part of a list, sorted by key and alike in the digits before `position`, that has `digit` there.
fn group<T>(sorted: &[(StateKeyId, T)], position: u8, at: u8) -> &[(StateKeyId, T)] {
    let start = sorted.partition_point(|(key, _)| digit(key.as_bytes(), position) < at);
    let rest = &sorted[start..];
    let end = rest.partition_point(|(key, _)| digit(key.as_bytes(), position) == at);
    &rest[..end]
}
