//! Room state as a persistent, content-addressed tree from (type, state key) to event.
//!
//! A state is named by its [`Root`]. Nodes are immutable and found by the hash of their bytes, so two states share
//! every node in which they agree, and a change writes only the nodes on the way to what changed.
//!
//! **Shape.** The tree is a radix tree over the digits of [`StateKeyId`], three bits each, with its paths compressed:
//! any set of at most [`LEAF_MAX`] entries is one leaf; a larger set is a branch at the longest prefix that all its
//! keys share. The shape is therefore a function of the contents alone: equal states have equal roots, whatever the
//! order in which they were written. [`StateKeyId`] begins with 4 bytes of the event type, so that all entries of one
//! type lie below one branch and can be listed without walking the rest; no digit reaches across their end.
//!
//! **Cost.** With n entries a lookup reads about log₈(n/5) + 3 nodes (eight at 100,000), and a change of one entry writes as
//! many, of at most some 140 bytes each but for the leaf. A larger fan-out reads fewer nodes and writes more bytes, since a
//! change copies the names of all its neighbours: at 100,000 entries, 16 instead of 8 would read six nodes and write 1.2 times
//! the bytes, and 4 would read ten and write a twentieth less. [`diff()`] skips whatever has equal hashes.
//!
//! **Hash.** A node's name is the first 128 bits of the SHA-256 of its bytes. Entries hold [`EventKey`]s, which are
//! 128 bits of SHA-256 themselves, so longer node names would not make two states harder to confuse; they would only
//! nearly double the size of a branch. Names are scoped to one room by whoever stores the nodes: a collision, at 2⁶⁴
//! work, confuses the state of a room whose members made it, on one server, and of no other.
//!
//! **Faults.** A node that is absent, malformed, or found where it does not belong is an error, never "no such entry".

use std::fmt;

use sha2::{Digest, Sha256};

use crate::ids::{EventKey, StateKeyId};

mod diff;
mod node;
mod overlay;
mod read;
mod write;

pub use self::{
    diff::{Change, diff},
    overlay::{MemoryNodes, Overlay, OverlayBytes},
    read::{Entries, count, entries, entries_of_type, get, get_all},
    write::{NewNodes, insert, remove, update},
};

/// The most entries that one leaf holds. A set of more is split by the first digit in which its keys differ.
///
/// Leaves of four would cost a change as many bytes, in more nodes; of sixteen, a tenth more.
pub const LEAF_MAX: usize = 8;

/// One entry of a state: which (type, state key), and the event that holds it.
pub type Entry = (StateKeyId, EventKey);

/// The name of a node: the first 128 bits of the SHA-256 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeHash([u8; 16]);

impl NodeHash {
    /// The name of the node with these bytes.
    pub fn of(node: &[u8]) -> Self {
        let digest = Sha256::digest(node);
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        NodeHash(hash)
    }

    /// The name with these 16 bytes, as [`NodeHash::as_bytes`] gave them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        NodeHash(bytes)
    }

    /// The 16 bytes of the name.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for NodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeHash(")?;
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// The name of a state: the hash of the top node of its tree, or [`Root::EMPTY`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Root(NodeHash);

impl Root {
    /// The state without entries. It has no node.
    pub const EMPTY: Root = Root(NodeHash([0; 16]));

    /// The root with these 16 bytes, as [`Root::as_bytes`] gave them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Root(NodeHash(bytes))
    }

    /// The 16 bytes of the root; all zero for the empty state.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The top node, unless the state is empty.
    pub fn node(self) -> Option<NodeHash> {
        (self != Root::EMPTY).then_some(self.0)
    }

    fn at(node: NodeHash) -> Self {
        Root(node)
    }
}

/// Where nodes are read from: one room's nodes, in a snapshot that does not change while it is in use.
pub trait Nodes {
    /// Why reading failed (not: that there is no such node).
    type Error;
    /// A node's bytes.
    type Bytes: AsRef<[u8]>;

    /// The bytes of the node of this name, `None` if there is none.
    ///
    /// # Errors
    /// Whatever kept the store from answering.
    fn node(&self, hash: &NodeHash) -> Result<Option<Self::Bytes>, Self::Error>;

    /// [`Nodes::node`] of several, in their order. A store that reads many rows at once for less says so here.
    ///
    /// # Errors
    /// Whatever kept the store from answering.
    fn nodes(&self, hashes: &[NodeHash]) -> Result<Vec<Option<Self::Bytes>>, Self::Error> {
        hashes.iter().map(|hash| self.node(hash)).collect()
    }
}

impl<N: Nodes + ?Sized> Nodes for &N {
    type Error = N::Error;
    type Bytes = N::Bytes;

    fn node(&self, hash: &NodeHash) -> Result<Option<Self::Bytes>, Self::Error> {
        (**self).node(hash)
    }

    fn nodes(&self, hashes: &[NodeHash]) -> Result<Vec<Option<Self::Bytes>>, Self::Error> {
        (**self).nodes(hashes)
    }
}

/// Why a tree could not be read or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeError<E> {
    /// A node that the tree refers to is not there.
    Missing(NodeHash),
    /// A node's bytes are not those of a node that belongs where it was found.
    Corrupt(NodeHash),
    /// The store could not answer.
    Fetch(E),
}

impl<E: fmt::Display> fmt::Display for TreeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TreeError::Missing(hash) => write!(f, "the state tree refers to {hash:?}, which is not there"),
            TreeError::Corrupt(hash) => write!(f, "the state tree's {hash:?} is malformed or out of place"),
            TreeError::Fetch(error) => write!(f, "a node of the state tree could not be read: {error}"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for TreeError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TreeError::Fetch(error) => Some(error),
            TreeError::Missing(_) | TreeError::Corrupt(_) => None,
        }
    }
}

/// The events that a node itself names; those named further down are its [`children`]'s.
///
/// # Errors
/// [`TreeError::Corrupt`] if the bytes are not those of a node.
pub fn events(bytes: &[u8]) -> Result<Vec<EventKey>, TreeError<std::convert::Infallible>> {
    match node::Node::decode(bytes) {
        Some(node::Node::Leaf(entries)) => Ok(entries.iter().map(|(_, event)| *event).collect()),
        Some(node::Node::Branch(_)) => Ok(Vec::new()),
        None => Err(TreeError::Corrupt(NodeHash::of(bytes))),
    }
}

/// The nodes that a node refers to: what a sweep follows from the roots that are in use.
///
/// # Errors
/// [`TreeError::Corrupt`] if the bytes are not those of a node.
pub fn children(bytes: &[u8]) -> Result<Vec<NodeHash>, TreeError<std::convert::Infallible>> {
    match node::Node::decode(bytes) {
        Some(node::Node::Leaf(_)) => Ok(Vec::new()),
        Some(node::Node::Branch(branch)) => Ok(branch.children.to_vec()),
        None => Err(TreeError::Corrupt(NodeHash::of(bytes))),
    }
}
