//! The bytes of a node.
//!
//! ```text
//! leaf    n (1..=LEAF_MAX) | p | p bytes that all keys begin with | n × (rest of the key, 16 - p bytes | event, 16)
//! branch  0x80 + number of bits of the prefix (0..=127) | prefix, padded with 0 to whole bytes
//!         | which children there are, 8 bits, bit i for digit i | number of entries below, LEB128
//!         | one node hash of 16 bytes for each child, by digit
//! ```
//!
//! Both kinds carry their whole prefix from the top of the tree, so that a node means the same wherever it is found,
//! and so that one found in the wrong place is noticed.

use smallvec::SmallVec;

use super::{Entry, LEAF_MAX, NodeHash, Nodes, TreeError};
use crate::ids::{EventKey, StateKeyId, TYPE_PREFIX_BYTES};

/// The most children of a branch: how many values a digit has.
pub(super) const FANOUT: u8 = 1 << DIGIT_BITS;
const DIGIT_BITS: u8 = 3;
/// Bits that name the event type. No digit reaches across their end.
const TYPE_BITS: u8 = 8 * TYPE_PREFIX_BYTES as u8;
/// Bits in a key.
const KEY_BITS: u8 = 8 * KEY_LEN as u8;
const BRANCH: u8 = 0x80;
const HASH_LEN: usize = 16;
const KEY_LEN: usize = 16;
const EVENT_LEN: usize = 16;
/// The longest LEB128 form of an entry count that is accepted (35 bits hold any `u32`).
const COUNT_LEN_MAX: usize = 5;

/// The first digits of a key: how many bits they have, and these. The other bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Prefix {
    bits: u128,
    len: u8,
}

impl Prefix {
    pub(super) const NONE: Prefix = Prefix { bits: 0, len: 0 };

    /// The longest prefix that both keys share.
    pub(super) fn common(a: &[u8; KEY_LEN], b: &[u8; KEY_LEN]) -> Self {
        let (a, b) = (u128::from_be_bytes(*a), u128::from_be_bytes(*b));
        Prefix::of_bits(a, whole_digits(common_bits(a, b)))
    }

    /// The prefix of keys of the event types whose names have this beginning.
    pub(super) fn of_type(type_prefix: [u8; TYPE_PREFIX_BYTES]) -> Self {
        Prefix { bits: u128::from(u32::from_be_bytes(type_prefix)) << (KEY_BITS - TYPE_BITS), len: TYPE_BITS }
    }

    /// The first `len` bits.
    fn of_bits(bits: u128, len: u8) -> Self {
        let rest = u128::MAX.checked_shr(u32::from(len)).unwrap_or(0);
        Prefix { bits: bits & !rest, len }
    }

    /// This prefix cut to what `key` shares with it.
    pub(super) fn common_with(&self, key: &[u8; KEY_LEN]) -> Self {
        let shared = whole_digits(common_bits(self.bits, u128::from_be_bytes(*key)));
        Prefix::of_bits(self.bits, shared.min(self.len))
    }

    /// How many bits it has.
    pub(super) fn len(&self) -> u8 {
        self.len
    }

    /// Whether `key` begins with this prefix.
    pub(super) fn matches(&self, key: &[u8; KEY_LEN]) -> bool {
        common_bits(self.bits, u128::from_be_bytes(*key)) >= self.len
    }

    /// Whether one of the two begins with the other.
    pub(super) fn agrees_with(&self, other: &Prefix) -> bool {
        common_bits(self.bits, other.bits) >= self.len.min(other.len)
    }

    /// Whether this prefix begins with the whole of `other`.
    pub(super) fn extends(&self, other: &Prefix) -> bool {
        self.len >= other.len && self.agrees_with(other)
    }

    /// The digit that begins at bit `at`, which must be inside the prefix.
    pub(super) fn digit(&self, at: u8) -> u8 {
        digit_of(self.bits, at)
    }

    /// This prefix and one more digit.
    pub(super) fn child(&self, digit: u8) -> Self {
        let width = digit_bits(self.len);
        let digit = u128::from(digit) & ((1 << width) - 1);
        Prefix { bits: self.bits | digit << (KEY_BITS - self.len - width), len: self.len + width }
    }

    /// How many bytes it takes.
    fn byte_len(&self) -> usize {
        usize::from(self.len.div_ceil(8))
    }
}

/// The digit of a key that begins at bit `at`.
pub(super) fn digit(key: &[u8; KEY_LEN], at: u8) -> u8 {
    digit_of(u128::from_be_bytes(*key), at)
}

fn digit_of(bits: u128, at: u8) -> u8 {
    let width = digit_bits(at);
    (bits >> (KEY_BITS - at - width)) as u8 & ((1 << width) - 1)
}

/// How many bits the digit has that begins at bit `at`: the last one of the event type is shorter.
fn digit_bits(at: u8) -> u8 {
    if at < TYPE_BITS { DIGIT_BITS.min(TYPE_BITS - at) } else { DIGIT_BITS }
}

/// How many of the first `bits` bits of a key make whole digits.
fn whole_digits(bits: u8) -> u8 {
    let start = if bits < TYPE_BITS { 0 } else { TYPE_BITS };
    bits - (bits - start) % DIGIT_BITS
}

fn common_bits(a: u128, b: u128) -> u8 {
    (a ^ b).leading_zeros() as u8
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
    bitmap: u8,
    pub(super) children: SmallVec<[NodeHash; FANOUT as usize]>,
}

impl Branch {
    /// A branch with these children, by ascending digit.
    pub(super) fn new(prefix: Prefix, count: u32, children: impl IntoIterator<Item = (u8, NodeHash)>) -> Self {
        let mut branch = Branch { prefix, count, bitmap: 0, children: SmallVec::new() };
        for (digit, hash) in children {
            branch.bitmap |= 1 << digit;
            branch.children.push(hash);
        }
        branch
    }

    pub(super) fn child(&self, digit: u8) -> Option<NodeHash> {
        let bit = 1 << digit;
        if self.bitmap & bit == 0 {
            return None;
        }
        let before = (self.bitmap & (bit - 1)).count_ones() as usize;
        self.children.get(before).copied()
    }

    /// The children, by ascending digit.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, NodeHash)> + '_ {
        (0..FANOUT).filter(|digit| self.bitmap & (1 << digit) != 0).zip(self.children.iter().copied())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let prefix_bytes = self.prefix.byte_len();
        let mut out = Vec::with_capacity(1 + prefix_bytes + 1 + COUNT_LEN_MAX + HASH_LEN * self.children.len());
        out.push(BRANCH | self.prefix.len);
        out.extend_from_slice(&self.prefix.bits.to_be_bytes()[..prefix_bytes]);
        out.push(self.bitmap);
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
        if whole_digits(len) != len {
            return None;
        }
        let (packed, rest) = rest.split_at_checked(usize::from(len.div_ceil(8)))?;
        let mut padded = [0; KEY_LEN];
        padded[..packed.len()].copy_from_slice(packed);
        let padded = u128::from_be_bytes(padded);
        let prefix = Prefix::of_bits(padded, len);
        if prefix.bits != padded {
            return None;
        }
        let (&bitmap, mut rest) = rest.split_first()?;
        if u16::from(bitmap) >> (1 << digit_bits(len)) != 0 {
            return None;
        }
        let mut count = 0u64;
        for position in 0.. {
            let (&byte, after) = rest.split_first()?;
            if position == COUNT_LEN_MAX {
                return None;
            }
            count |= u64::from(byte & 0x7f) << (7 * position);
            rest = after;
            if byte & 0x80 == 0 {
                // Written shorter without a last byte of 0.
                if byte == 0 {
                    return None;
                }
                break;
            }
        }
        let (hashes, []) = rest.as_chunks::<HASH_LEN>() else { return None };
        if hashes.len() != bitmap.count_ones() as usize || hashes.len() < 2 {
            return None;
        }
        // What is below two children differs, and so do their names.
        if (1..hashes.len()).any(|at| hashes[..at].contains(&hashes[at])) {
            return None;
        }
        let count = u32::try_from(count).ok().filter(|count| *count as usize > LEAF_MAX)?;
        Some(Branch {
            prefix,
            count,
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
        Node::read(hash, nodes.node(&hash).map_err(TreeError::Fetch)?, expected)
    }

    /// Reads several nodes, each with what its keys begin with; in their order.
    pub(super) fn load_all<N: Nodes + ?Sized>(
        nodes: &N,
        wanted: &[(NodeHash, Prefix)],
    ) -> Result<Vec<Self>, TreeError<N::Error>> {
        let hashes: Vec<NodeHash> = wanted.iter().map(|(hash, _)| *hash).collect();
        let read = nodes.nodes(&hashes).map_err(TreeError::Fetch)?;
        wanted.iter().zip(read).map(|((hash, expected), bytes)| Node::read(*hash, bytes, expected)).collect()
    }

    fn read<B: AsRef<[u8]>, E>(hash: NodeHash, bytes: Option<B>, expected: &Prefix) -> Result<Self, TreeError<E>> {
        let bytes = bytes.ok_or(TreeError::Missing(hash))?;
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
        [first, .., last] => {
            let [first, last] = [first, last].map(|(key, _)| u128::from_be_bytes(*key.as_bytes()));
            usize::from(common_bits(first, last) / 8)
        }
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
