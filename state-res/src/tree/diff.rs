//! What differs between two states.

use super::{
    Entry, NodeHash, Nodes, Root, TreeError,
    node::{Branch, FANOUT, Node, Prefix},
    read::Entries,
};
use crate::ids::{EventKey, StateKeyId};

/// An entry in which two states differ: its event on each side, `None` where that side has no such entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Which (type, state key).
    pub key: StateKeyId,
    /// The event in the first state.
    pub left: Option<EventKey>,
    /// The event in the second state.
    pub right: Option<EventKey>,
}

/// How many pairs of subtrees are looked at together, and so about half of how many nodes are read at once.
const AT_ONCE: usize = 64;

/// The entries in which the states `left` and `right` differ, by ascending key. Reads the nodes that differ and no
/// others, so the cost is in proportion to the difference.
///
/// # Errors
/// When a node is missing, corrupt or unreadable.
pub fn diff<N: Nodes + ?Sized>(nodes: &N, left: Root, right: Root) -> Result<Vec<Change>, TreeError<N::Error>> {
    let mut diff = Diff { nodes, changes: Vec::new(), pairs: Vec::new() };
    diff.differ(left.node().map(Part::Named), right.node().map(Part::Named), Prefix::NONE);
    while !diff.pairs.is_empty() {
        let rest = diff.pairs.len().saturating_sub(AT_ONCE);
        let pairs = diff.pairs.split_off(rest);
        diff.compare(pairs)?;
    }
    diff.changes.sort_unstable_by_key(|change| change.key);
    Ok(diff.changes)
}

struct Diff<'a, N: Nodes + ?Sized> {
    nodes: &'a N,
    changes: Vec<Change>,
    /// What is still to be compared. Each step down has a longer prefix, so that this comes to an end.
    pairs: Vec<Pair>,
}

/// Subtrees of both sides that stand where all keys begin with `expected`.
struct Pair {
    left: Option<Part>,
    right: Option<Part>,
    expected: Prefix,
}

/// A subtree.
enum Part {
    /// Known by the name of its top node.
    Named(NodeHash),
    /// Its top node has been read.
    Read(Box<Loaded>),
}

impl Part {
    fn hash(&self) -> NodeHash {
        match self {
            Part::Named(hash) => *hash,
            Part::Read(loaded) => loaded.hash,
        }
    }

    /// The node to read, if any.
    fn unread(part: &Option<Part>) -> Option<NodeHash> {
        match part {
            Some(Part::Named(hash)) => Some(*hash),
            _ => None,
        }
    }

    fn loaded(part: Option<Part>, read: &mut impl Iterator<Item = Node>) -> Option<Loaded> {
        match part? {
            Part::Named(hash) => read.next().map(|node| Loaded { hash, node }),
            Part::Read(loaded) => Some(*loaded),
        }
    }
}

/// A node that has been read, with its name.
struct Loaded {
    hash: NodeHash,
    node: Node,
}

impl<N: Nodes + ?Sized> Diff<'_, N> {
    /// Has two subtrees compared, unless they are the same.
    fn differ(&mut self, left: Option<Part>, right: Option<Part>, expected: Prefix) {
        if left.as_ref().map(Part::hash) != right.as_ref().map(Part::hash) {
            self.pairs.push(Pair { left, right, expected });
        }
    }

    fn compare(&mut self, pairs: Vec<Pair>) -> Result<(), TreeError<N::Error>> {
        let unread = |pair: &Pair| {
            let sides = [Part::unread(&pair.left), Part::unread(&pair.right)];
            sides.map(|hash| hash.map(|hash| (hash, pair.expected)))
        };
        let wanted: Vec<_> = pairs.iter().flat_map(unread).flatten().collect();
        let mut read = Node::load_all(self.nodes, &wanted)?.into_iter();
        for Pair { left, right, expected } in pairs {
            let left = Part::loaded(left, &mut read);
            let right = Part::loaded(right, &mut read);
            self.nodes(left, right, expected)?;
        }
        Ok(())
    }

    fn nodes(
        &mut self,
        left: Option<Loaded>,
        right: Option<Loaded>,
        expected: Prefix,
    ) -> Result<(), TreeError<N::Error>> {
        match (left, right) {
            (
                Some(Loaded { node: Node::Branch(left), hash: left_hash }),
                Some(Loaded { node: Node::Branch(right), hash: right_hash }),
            ) if left.prefix.agrees_with(&right.prefix) => {
                if left.prefix.len() == right.prefix.len() {
                    for digit in 0..FANOUT {
                        let [left_child, right_child] =
                            [&left, &right].map(|branch| branch.child(digit).map(Part::Named));
                        self.differ(left_child, right_child, left.prefix.child(digit));
                    }
                } else if left.prefix.len() < right.prefix.len() {
                    self.below_branch(&left, right_hash, right, Side::Left);
                } else {
                    self.below_branch(&right, left_hash, left, Side::Right);
                }
                Ok(())
            }
            // One side is missing, or a leaf, or all keys of one side come before all of the other: what differs is
            // (but for the few entries of a leaf) everything on both sides.
            (left, right) => self.everything(left, right, expected),
        }
    }

    /// The whole of `longer` lies below one child of `shorter`, which is on side `side`.
    fn below_branch(&mut self, shorter: &Branch, hash: NodeHash, longer: Branch, side: Side) {
        let towards = longer.prefix.digit(shorter.prefix.len());
        let mut longer = Some(Part::Read(Box::new(Loaded { hash, node: Node::Branch(longer) })));
        for digit in 0..FANOUT {
            let child = shorter.child(digit).map(Part::Named);
            let other = longer.take_if(|_| digit == towards);
            let expected = shorter.prefix.child(digit);
            match side {
                Side::Left => self.differ(child, other, expected),
                Side::Right => self.differ(other, child, expected),
            }
        }
    }

    fn everything(
        &mut self,
        left: Option<Loaded>,
        right: Option<Loaded>,
        expected: Prefix,
    ) -> Result<(), TreeError<N::Error>> {
        let left = self.list(left, expected)?;
        let right = self.list(right, expected)?;
        let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
        loop {
            let change = match (left.peek(), right.peek()) {
                (None, None) => return Ok(()),
                (Some(&&(key, event)), None) => {
                    left.next();
                    Change { key, left: Some(event), right: None }
                }
                (None, Some(&&(key, event))) => {
                    right.next();
                    Change { key, left: None, right: Some(event) }
                }
                (Some(&&(left_key, left_event)), Some(&&(right_key, right_event))) => {
                    let key = left_key.min(right_key);
                    let change = Change {
                        key,
                        left: (left_key == key).then_some(left_event),
                        right: (right_key == key).then_some(right_event),
                    };
                    if left_key == key {
                        left.next();
                    }
                    if right_key == key {
                        right.next();
                    }
                    change
                }
            };
            if change.left != change.right {
                self.changes.push(change);
            }
        }
    }

    fn list(&self, loaded: Option<Loaded>, expected: Prefix) -> Result<Vec<Entry>, TreeError<N::Error>> {
        match loaded {
            None => Ok(Vec::new()),
            Some(Loaded { node: Node::Leaf(entries), .. }) => Ok(entries.to_vec()),
            Some(Loaded { hash, .. }) => Entries::below(self.nodes, Some(hash), expected, Prefix::NONE).collect(),
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}
