//! The bytes of a node.
//!
//! ```text
//! leaf    n (1..=LEAF_MAX) | p | p bytes that all keys begin with | n × (rest of the key, 16 - p bytes | event, 16)
//! branch  0x80 + number of prefix nibbles (0..=31) | prefix, two nibbles a byte, padded with 0
//!         | which children there are, 16 bits, most significant byte first, bit i for nibble i
//!         | number of entries below, LEB128 | one node hash of 16 bytes for each child, by nibble
//! ```
//!
//! Both kinds carry their whole prefix from the top of the tree, so that a node means the same wherever it is found,
//! and so that one found in the wrong place is noticed.

use smallvec::SmallVec;

use super::{Entry, LEAF_MAX, NodeHash, Nodes, TreeError};
use crate::ids::{EventKey, StateKeyId};

/// Nibbles in a key.
const KEY_NIBBLES: u8 = 32;
const BRANCH: u8 = 0x80;
const HASH_LEN: usize = 16;
const KEY_LEN: usize = 16;
const EVENT_LEN: usize = 16;
/// The longest LEB128 form of an entry count that is accepted (35 bits hold any `u32`).
const COUNT_LEN_MAX: usize = 5;

/// The first nibbles of a key: how many, and what they are. The rest of `bytes` is zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Prefix {
    bytes: [u8; KEY_LEN],
    len: u8,
}

impl Prefix {
    pub(super) const NONE: Prefix = Prefix { bytes: [0; KEY_LEN], len: 0 };

    /// The longest prefix that both keys share.
    pub(super) fn common(a: &[u8; KEY_LEN], b: &[u8; KEY_LEN]) -> Self {
        Prefix::of(a, common_nibbles(a, b))
    }

    /// The first `len` nibbles of `key`.
    pub(super) fn of(key: &[u8; KEY_LEN], len: u8) -> Self {
        let len = len.min(KEY_NIBBLES);
        let mut bytes = [0; KEY_LEN];
        let whole = usize::from(len / 2);
        bytes[..whole].copy_from_slice(&key[..whole]);
        if len % 2 == 1 {
            bytes[whole] = key[whole] & 0xf0;
        }
        Prefix { bytes, len }
    }

    /// This prefix cut to what `key` shares with it.
    pub(super) fn common_with(&self, key: &[u8; KEY_LEN]) -> Self {
        Prefix::of(&self.bytes, common_nibbles(&self.bytes, key).min(self.len))
    }

    pub(super) fn len(&self) -> u8 {
        self.len
    }

    /// Whether `key` begins with this prefix.
    pub(super) fn matches(&self, key: &[u8; KEY_LEN]) -> bool {
        common_nibbles(&self.bytes, key) >= self.len
    }

    /// Whether one of the two begins with the other.
    pub(super) fn agrees_with(&self, other: &Prefix) -> bool {
        common_nibbles(&self.bytes, &other.bytes) >= self.len.min(other.len)
    }

    /// Whether this prefix begins with the whole of `other`.
    pub(super) fn extends(&self, other: &Prefix) -> bool {
        self.len >= other.len && self.agrees_with(other)
    }

    /// The nibble at position `at`, which must be inside the prefix.
    pub(super) fn nibble(&self, at: u8) -> u8 {
        nibble(&self.bytes, at)
    }

    /// This prefix and one more nibble.
    pub(super) fn child(&self, nibble: u8) -> Self {
        let mut child = *self;
        let byte = usize::from(self.len / 2);
        child.bytes[byte] |= if self.len.is_multiple_of(2) { nibble << 4 } else { nibble & 0xf };
        child.len += 1;
        child
    }
}

/// The nibble of a key at a position below 32.
pub(super) fn nibble(key: &[u8; KEY_LEN], at: u8) -> u8 {
    let byte = key[usize::from(at / 2)];
    if at.is_multiple_of(2) { byte >> 4 } else { byte & 0xf }
}

fn common_nibbles(a: &[u8; KEY_LEN], b: &[u8; KEY_LEN]) -> u8 {
    let differing = u128::from_be_bytes(*a) ^ u128::from_be_bytes(*b);
    (differing.leading_zeros() / 4) as u8
}

/// A node, decoded.
pub(super) enum Node {
    Leaf(Leaf),
    Branch(Branch),
}

/// Entries in the order of their keys.
pub(super) type Leaf = SmallVec<[Entry; LEAF_MAX]>;

pub(super) struct Branch {
    /// The longest prefix that all keys below share.
    pub(super) prefix: Prefix,
    /// How many entries there are below. It tells, without reading the children, when a removal leaves so few that
    /// they must become one leaf.
    pub(super) count: u32,
    bitmap: u16,
    pub(super) children: SmallVec<[NodeHash; 16]>,
}

impl Branch {
    /// A branch with these children, by ascending nibble.
    pub(super) fn new(prefix: Prefix, count: u32, children: impl IntoIterator<Item = (u8, NodeHash)>) -> Self {
        let mut branch = Branch { prefix, count, bitmap: 0, children: SmallVec::new() };
        for (nibble, hash) in children {
            branch.bitmap |= 1 << nibble;
            branch.children.push(hash);
        }
        branch
    }

    pub(super) fn child(&self, nibble: u8) -> Option<NodeHash> {
        let bit = 1u16 << nibble;
        if self.bitmap & bit == 0 {
            return None;
        }
        let before = (self.bitmap & (bit - 1)).count_ones() as usize;
        self.children.get(before).copied()
    }

    /// The children, by ascending nibble.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, NodeHash)> + '_ {
        (0..16u8).filter(|nibble| self.bitmap & (1 << nibble) != 0).zip(self.children.iter().copied())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let prefix_bytes = usize::from(self.prefix.len.div_ceil(2));
        let mut out = Vec::with_capacity(1 + prefix_bytes + 2 + COUNT_LEN_MAX + HASH_LEN * self.children.len());
        out.push(BRANCH | self.prefix.len);
        out.extend_from_slice(&self.prefix.bytes[..prefix_bytes]);
        out.extend_from_slice(&self.bitmap.to_be_bytes());
        let mut count = self.count;
        while count >= 0x80 {
            out.push((count as u8) | 0x80);
            count >>= 7;
        }
        out.push(count as u8);
        for child in &self.children {
            out.extend_from_slice(child.as_bytes());
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&first, rest) = bytes.split_first()?;
        let len = first & !BRANCH;
        if len >= KEY_NIBBLES {
            return None;
        }
        let (packed, rest) = rest.split_at_checked(usize::from(len.div_ceil(2)))?;
        let mut padded = [0; KEY_LEN];
        padded[..packed.len()].copy_from_slice(packed);
        let prefix = Prefix::of(&padded, len);
        if prefix.bytes != padded {
            return None;
        }
        let (bitmap, mut rest) = rest.split_first_chunk::<2>()?;
        let bitmap = u16::from_be_bytes(*bitmap);
        let mut count = 0u64;
        for position in 0.. {
            let (&byte, after) = rest.split_first()?;
            if position == COUNT_LEN_MAX {
                return None;
            }
            count |= u64::from(byte & 0x7f) << (7 * position);
            rest = after;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (hashes, []) = rest.as_chunks::<HASH_LEN>() else { return None };
        if hashes.len() != bitmap.count_ones() as usize {
            return None;
        }
        Some(Branch {
            prefix,
            count: u32::try_from(count).ok()?,
            bitmap,
            children: hashes.iter().map(|hash| NodeHash::from_bytes(*hash)).collect(),
        })
    }
}

impl Node {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.first()? & BRANCH != 0 {
            Branch::decode(bytes).map(Node::Branch)
        } else {
            decode_leaf(bytes).map(Node::Leaf)
        }
    }

    /// Reads the node `hash`, which stands where all keys begin with `expected`.
    pub(super) fn load<N: Nodes + ?Sized>(
        nodes: &N,
        hash: NodeHash,
        expected: &Prefix,
    ) -> Result<Self, TreeError<N::Error>> {
        let bytes = nodes.node(&hash).map_err(TreeError::Fetch)?.ok_or(TreeError::Missing(hash))?;
        let node = Node::decode(bytes.as_ref()).ok_or(TreeError::Corrupt(hash))?;
        // This also bounds every walk: each step down has a longer prefix than the one before.
        let in_place = match &node {
            Node::Leaf(entries) => entries.iter().all(|(key, _)| expected.matches(key.as_bytes())),
            Node::Branch(branch) => branch.prefix.extends(expected),
        };
        if in_place { Ok(node) } else { Err(TreeError::Corrupt(hash)) }
    }

    /// How many entries there are in and below this node.
    pub(super) fn count(&self) -> u32 {
        match self {
            Node::Leaf(entries) => entries.len() as u32,
            Node::Branch(branch) => branch.count,
        }
    }
}

/// The bytes of a leaf with these entries: at least one, at most [`LEAF_MAX`], by ascending key.
pub(super) fn encode_leaf(entries: &[Entry]) -> Vec<u8> {
    let shared = match entries {
        [first, .., last] => usize::from(common_nibbles(first.0.as_bytes(), last.0.as_bytes()) / 2),
        _ => KEY_LEN,
    };
    let mut out = Vec::with_capacity(2 + shared + entries.len() * (KEY_LEN - shared + EVENT_LEN));
    out.push(entries.len() as u8);
    out.push(shared as u8);
    if let Some((key, _)) = entries.first() {
        out.extend_from_slice(&key.as_bytes()[..shared]);
    }
    for (key, event) in entries {
        out.extend_from_slice(&key.as_bytes()[shared..]);
        out.extend_from_slice(event.as_bytes());
    }
    out
}

fn decode_leaf(bytes: &[u8]) -> Option<Leaf> {
    let ([n, shared], rest) = bytes.split_first_chunk::<2>()?;
    let (n, shared) = (usize::from(*n), usize::from(*shared));
    if n == 0 || n > LEAF_MAX || shared > KEY_LEN {
        return None;
    }
    let (prefix, rest) = rest.split_at_checked(shared)?;
    let stride = KEY_LEN - shared + EVENT_LEN;
    if rest.len() != n * stride {
        return None;
    }
    let mut key = [0; KEY_LEN];
    key[..shared].copy_from_slice(prefix);
    let mut leaf = Leaf::new();
    for entry in rest.chunks_exact(stride) {
        let (suffix, event) = entry.split_at(KEY_LEN - shared);
        key[shared..].copy_from_slice(suffix);
        let id = StateKeyId::from_bytes(key);
        if leaf.last().is_some_and(|(before, _)| *before >= id) {
            return None;
        }
        leaf.push((id, EventKey::from_bytes(event.try_into().ok()?)));
    }
    Some(leaf)
}
