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

/// The entries in which the states `left` and `right` differ, by ascending key. Reads the nodes that differ and no
/// others, so the cost is in proportion to the difference.
///
/// # Errors
/// When a node is missing, corrupt or unreadable.
pub fn diff<N: Nodes + ?Sized>(nodes: &N, left: Root, right: Root) -> Result<Vec<Change>, TreeError<N::Error>> {
    let mut diff = Diff { nodes, changes: Vec::new() };
    diff.subtrees(left.node(), right.node(), Prefix::NONE)?;
    Ok(diff.changes)
}

struct Diff<'a, N: Nodes + ?Sized> {
    nodes: &'a N,
    changes: Vec<Change>,
}

/// A node that has been read, with its name.
struct Loaded {
    hash: NodeHash,
    node: Node,
}

/// Recursion goes down with the prefix, so never deeper than a key has digits.
impl<N: Nodes + ?Sized> Diff<'_, N> {
    fn subtrees(
        &mut self,
        left: Option<NodeHash>,
        right: Option<NodeHash>,
        expected: Prefix,
    ) -> Result<(), TreeError<N::Error>> {
        if left == right {
            return Ok(());
        }
        let left = left.map(|hash| self.load(hash, &expected)).transpose()?;
        let right = right.map(|hash| self.load(hash, &expected)).transpose()?;
        self.nodes(left, right, expected)
    }

    fn load(&self, hash: NodeHash, expected: &Prefix) -> Result<Loaded, TreeError<N::Error>> {
        Ok(Loaded { hash, node: Node::load(self.nodes, hash, expected)? })
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
                if left_hash == right_hash {
                    Ok(())
                } else if left.prefix.len() == right.prefix.len() {
                    for digit in 0..FANOUT {
                        self.subtrees(left.child(digit), right.child(digit), left.prefix.child(digit))?;
                    }
                    Ok(())
                } else if left.prefix.len() < right.prefix.len() {
                    self.below_branch(&left, Loaded { hash: right_hash, node: Node::Branch(right) }, Side::Left)
                } else {
                    self.below_branch(&right, Loaded { hash: left_hash, node: Node::Branch(left) }, Side::Right)
                }
            }
            // One side is missing, or a leaf, or all keys of one side come before all of the other: what differs is
            // (but for the few entries of a leaf) everything on both sides.
            (left, right) => self.everything(left, right, expected),
        }
    }

    /// The whole of `longer`, a branch, lies below one child of `shorter`, which is on side `side`.
    fn below_branch(&mut self, shorter: &Branch, longer: Loaded, side: Side) -> Result<(), TreeError<N::Error>> {
        let Node::Branch(branch) = &longer.node else { return Ok(()) };
        let towards = branch.prefix.digit(shorter.prefix.len());
        let mut longer = Some(longer);
        for digit in 0..FANOUT {
            let expected = shorter.prefix.child(digit);
            let child = shorter.child(digit);
            let other = if digit == towards { longer.take() } else { None };
            if other.as_ref().map(|loaded| loaded.hash) == child {
                continue;
            }
            let child = child.map(|hash| self.load(hash, &expected)).transpose()?;
            match side {
                Side::Left => self.nodes(child, other, expected)?,
                Side::Right => self.nodes(other, child, expected)?,
            }
        }
        Ok(())
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
