//! Nodes in memory: a small store of their own, or what has been made but not stored yet.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use super::{NewNodes, NodeHash, Nodes, Root, TreeError, update};
use crate::ids::{EventKey, StateKeyId};

/// A store of nodes in memory, for tools and tests.
#[derive(Clone, Default, Debug)]
pub struct MemoryNodes {
    nodes: BTreeMap<NodeHash, Arc<[u8]>>,
}

impl MemoryNodes {
    /// Keeps these nodes.
    pub fn extend(&mut self, new: NewNodes) {
        self.nodes.extend(new.into_iter().map(|(hash, bytes)| (hash, bytes.into())));
    }

    /// Forgets a node; whether there was one.
    pub fn forget(&mut self, hash: &NodeHash) -> bool {
        self.nodes.remove(hash).is_some()
    }

    /// All nodes, by ascending hash.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeHash, &[u8])> {
        self.nodes.iter().map(|(hash, bytes)| (hash, bytes.as_ref()))
    }
}

impl Nodes for MemoryNodes {
    type Error = Infallible;
    type Bytes = Arc<[u8]>;

    fn node(&self, hash: &NodeHash) -> Result<Option<Arc<[u8]>>, Infallible> {
        Ok(self.nodes.get(hash).cloned())
    }
}

/// Stored nodes and, over them, the new ones of changes that are not stored yet, so that several changes can be made
/// one after the other and written in one batch.
pub struct Overlay<N> {
    base: N,
    new: BTreeMap<NodeHash, Arc<[u8]>>,
}

impl<N: Nodes> Overlay<N> {
    /// Nothing new yet, over `base`.
    pub fn new(base: N) -> Self {
        Overlay { base, new: BTreeMap::new() }
    }

    /// Changes the state `root` as [`update`] does and keeps the new nodes.
    ///
    /// # Errors
    /// When a node is missing, corrupt or unreadable.
    pub fn update(
        &mut self,
        root: Root,
        changes: &[(StateKeyId, Option<EventKey>)],
    ) -> Result<Root, TreeError<N::Error>> {
        let (root, new) = update(self, root, changes)?;
        self.extend(new);
        Ok(root)
    }

    /// Sets entries of the state `root` and keeps the new nodes.
    ///
    /// # Errors
    /// When a node is missing, corrupt or unreadable.
    pub fn insert(&mut self, root: Root, entries: &[(StateKeyId, EventKey)]) -> Result<Root, TreeError<N::Error>> {
        let changes: Vec<_> = entries.iter().map(|(key, event)| (*key, Some(*event))).collect();
        self.update(root, &changes)
    }

    /// Keeps nodes made elsewhere, as [`insert`](super::insert), [`remove`](super::remove) and resolution return them.
    pub fn extend(&mut self, new: NewNodes) {
        self.new.extend(new.into_iter().map(|(hash, bytes)| (hash, bytes.into())));
    }

    /// The nodes to store for the state `root`: the new ones that it refers to, and not those of states in between
    /// that were left again.
    ///
    /// # Errors
    /// When a new node is corrupt.
    pub fn into_new_nodes(self, root: Root) -> Result<NewNodes, TreeError<N::Error>> {
        let mut kept = BTreeMap::new();
        let mut stack: Vec<NodeHash> = root.node().into_iter().collect();
        while let Some(hash) = stack.pop() {
            let Some(bytes) = self.new.get(&hash) else { continue };
            if kept.insert(hash, bytes.to_vec()).is_none() {
                stack.extend(super::children(bytes).map_err(|_| TreeError::Corrupt(hash))?);
            }
        }
        Ok(kept.into_iter().collect())
    }
}

impl<N: Nodes> Nodes for Overlay<N> {
    type Error = N::Error;
    type Bytes = OverlayBytes<N::Bytes>;

    fn node(&self, hash: &NodeHash) -> Result<Option<Self::Bytes>, Self::Error> {
        match self.new.get(hash) {
            Some(bytes) => Ok(Some(OverlayBytes::New(bytes.clone()))),
            None => Ok(self.base.node(hash)?.map(OverlayBytes::Stored)),
        }
    }
}

/// The bytes of a node of an [`Overlay`].
#[derive(Clone, Debug)]
pub enum OverlayBytes<B> {
    /// A new node.
    New(Arc<[u8]>),
    /// A node of the store below.
    Stored(B),
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for OverlayBytes<B> {
    fn as_ref(&self) -> &[u8] {
        match self {
            OverlayBytes::New(bytes) => bytes,
            OverlayBytes::Stored(bytes) => bytes.as_ref(),
        }
    }
}
