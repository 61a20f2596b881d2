//! The bytes of batches: what the committer walks, and what a log would carry.
//!
//! A batch is a header (version, class, id, position at which it was made), its preconditions, its writes, the offsets within the
//! writes at which the position goes, and its topics. Lengths are LEB128. Keys begin with their table's id, as they are stored.
//!
//! - precondition: `0` (absent) or `1` (version), key length, key, and for `1` the 16 bytes of the version
//! - write: `1` (put), `2` (delete) or `3` (delete range), key length, key, and for `1` and `3` value (or end) length and bytes

use smallvec::SmallVec;

use crate::{
    Batch, BatchId, Class, StorageError, Topic, Version, limits,
    schema::{CURSORS, LEASE_ENDS, LEASES},
};

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpKind {
    Put = 1,
    Delete = 2,
    DeleteRange = 3,
}

/// A write, by where its parts lie in the bytes of the writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) kind: OpKind,
    /// The key, with its table's id before it.
    pub(crate) key: (usize, usize),
    /// The value of a put; the end of a range, with its table's id before it; else empty.
    pub(crate) value: (usize, usize),
}

/// A precondition.
pub(crate) struct Required<'a> {
    /// The key, with its table's id before it.
    pub(crate) key: &'a [u8],
    /// What it must hold; `None` for nothing.
    pub(crate) version: Option<Version>,
}

/// Adds a write; gives the offsets of the caller's key (behind the table's id) and of the value.
pub(crate) fn write_op(ops: &mut Vec<u8>, kind: OpKind, table: u8, key: &[u8], value: Option<&[u8]>) -> (u32, u32) {
    ops.reserve(key.len() + value.map_or(0, <[u8]>::len) + 12);
    ops.push(kind as u8);
    write_length(ops, key.len() + 1);
    ops.push(table);
    let key_at = ops.len();
    ops.extend_from_slice(key);
    let mut value_at = ops.len();
    if let Some(value) = value {
        write_length(ops, value.len());
        value_at = ops.len();
        ops.extend_from_slice(value);
    }
    // A batch is refused long before its offsets leave 32 bits.
    (u32::try_from(key_at).unwrap_or(u32::MAX), u32::try_from(value_at).unwrap_or(u32::MAX))
}

/// Adds a precondition.
pub(crate) fn write_precondition(preconditions: &mut Vec<u8>, table: u8, key: &[u8], version: Option<Version>) {
    preconditions.push(u8::from(version.is_some()));
    write_length(preconditions, key.len() + 1);
    preconditions.push(table);
    preconditions.extend_from_slice(key);
    if let Some(Version(version)) = version {
        preconditions.extend_from_slice(&version);
    }
}

/// The end of a range as it is stored: the table's id and the key, or the next table's id for no end.
pub(crate) fn range_end(table: u8, end: &[u8]) -> SmallVec<[u8; 64]> {
    let mut stored = SmallVec::new();
    stored.push(if end.is_empty() { table + 1 } else { table });
    stored.extend_from_slice(end);
    stored
}

/// Walks the writes of a batch whose bytes have been checked or were built here.
pub(crate) struct Ops<'a> {
    reader: Reader<'a>,
}

impl<'a> Ops<'a> {
    pub(crate) fn new(ops: &'a [u8]) -> Self {
        Self { reader: Reader { bytes: ops, at: 0 } }
    }
}

impl Iterator for Ops<'_> {
    type Item = Result<Op, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.reader.is_empty()).then(|| {
            let kind = match self.reader.byte()? {
                1 => OpKind::Put,
                2 => OpKind::Delete,
                3 => OpKind::DeleteRange,
                _ => return Err(malformed("a write of unknown kind")),
            };
            let key = self.reader.span()?;
            let value = if kind == OpKind::Delete { (0, 0) } else { self.reader.span()? };
            Ok(Op { kind, key, value })
        })
    }
}

/// Walks the preconditions of a batch.
pub(crate) struct Preconditions<'a> {
    reader: Reader<'a>,
}

impl<'a> Preconditions<'a> {
    pub(crate) fn new(preconditions: &'a [u8]) -> Self {
        Self { reader: Reader { bytes: preconditions, at: 0 } }
    }
}

impl<'a> Iterator for Preconditions<'a> {
    type Item = Result<Required<'a>, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.reader.is_empty()).then(|| {
            let with_version = match self.reader.byte()? {
                0 => false,
                1 => true,
                _ => return Err(malformed("a precondition of unknown kind")),
            };
            let (start, end) = self.reader.span()?;
            let version = if with_version { Some(Version(self.reader.array()?)) } else { None };
            Ok(Required { key: &self.reader.bytes[start..end], version })
        })
    }
}

/// Bytes of the encoded batch.
pub(crate) fn batch_len(batch: &Batch) -> usize {
    let made_at = 1 + if batch.made_at.is_some() { 8 } else { 0 };
    let lengths = length_len(batch.preconditions.len())
        + length_len(batch.ops.len())
        + length_len(batch.slots.len())
        + length_len(batch.topics.len());
    let slots: usize = batch.slots.iter().map(|&slot| length_len(slot as usize)).sum();
    2 + 16 + made_at + lengths + batch.preconditions.len() + batch.ops.len() + slots + 16 * batch.topics.len()
}

/// The batch as bytes.
pub(crate) fn encode_batch(batch: &Batch) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(batch_len(batch));
    bytes.push(Batch::ENCODING_VERSION);
    bytes.push(match batch.class {
        Class::Synced => 0,
        Class::Logged => 1,
    });
    bytes.extend_from_slice(&batch.id.0);
    bytes.push(u8::from(batch.made_at.is_some()));
    if let Some(made_at) = batch.made_at {
        bytes.extend_from_slice(&made_at.to_be_bytes());
    }
    write_length(&mut bytes, batch.preconditions.len());
    bytes.extend_from_slice(&batch.preconditions);
    write_length(&mut bytes, batch.ops.len());
    bytes.extend_from_slice(&batch.ops);
    write_length(&mut bytes, batch.slots.len());
    for &slot in &batch.slots {
        write_length(&mut bytes, slot as usize);
    }
    write_length(&mut bytes, batch.topics.len());
    for topic in &batch.topics {
        bytes.extend_from_slice(&topic.0);
    }
    bytes
}

/// A batch from bytes that anybody may have made.
pub(crate) fn decode_batch(bytes: &[u8]) -> Result<Batch, StorageError> {
    if bytes.len() > limits::MAX_BATCH_BYTES {
        return Err(malformed("a batch is bigger than the limit"));
    }
    let mut reader = Reader { bytes, at: 0 };
    let version = reader.byte()?;
    if version != Batch::ENCODING_VERSION {
        return Err(StorageError::Malformed(format!(
            "a batch has encoding version {version}; this program knows version {}",
            Batch::ENCODING_VERSION
        )));
    }
    let class = match reader.byte()? {
        0 => Class::Synced,
        1 => Class::Logged,
        _ => return Err(malformed("a batch of unknown class")),
    };
    let mut batch = Batch::new(BatchId(reader.array()?));
    batch.class = class;
    batch.made_at = match reader.byte()? {
        0 => None,
        1 => Some(u64::from_be_bytes(reader.array()?)),
        _ => return Err(malformed("a batch has a malformed header")),
    };
    let (start, end) = reader.span()?;
    batch.preconditions = bytes[start..end].to_vec();
    let (start, end) = reader.span()?;
    batch.ops = bytes[start..end].to_vec();
    let slots = reader.length()?;
    for _ in 0..slots {
        let slot = reader.length()?;
        batch.slots.push(u32::try_from(slot).map_err(|_| malformed("a position slot outside of the batch"))?);
    }
    let topics = reader.length()?;
    if topics > limits::MAX_TOPICS {
        return Err(malformed("a batch has too many topics"));
    }
    for _ in 0..topics {
        batch.topics.push(Topic(reader.array()?));
    }
    if !reader.is_empty() {
        return Err(malformed("a batch has bytes behind its end"));
    }
    check(&mut batch)?;
    Ok(batch)
}

/// Checks what a builder would have refused, and notes the tables.
fn check(batch: &mut Batch) -> Result<(), StorageError> {
    for required in Preconditions::new(&batch.preconditions) {
        let table = check_key(required?.key)?;
        batch.tables[usize::from(table / 64)] |= 1 << (table % 64);
    }
    // Slots may lie only within one key (behind its table) or one value; both lists are in ascending order of the writes.
    let mut slots: SmallVec<[u32; 4]> = batch.slots.clone();
    slots.sort_unstable();
    let mut slots = slots.into_iter().map(|slot| slot as usize).peekable();
    for op in Ops::new(&batch.ops) {
        let op = op?;
        let key = &batch.ops[op.key.0..op.key.1];
        let value = &batch.ops[op.value.0..op.value.1];
        let table = check_key(key)?;
        if table > crate::Table::MAX_ID && ![CURSORS.id, LEASES.id, LEASE_ENDS.id].contains(&table) {
            return Err(malformed("a batch writes to a table that is the store's own"));
        }
        batch.tables[usize::from(table / 64)] |= 1 << (table % 64);
        match op.kind {
            OpKind::Put if value.len() > limits::MAX_VALUE_BYTES => {
                return Err(malformed("a value is bigger than the limit"));
            }
            OpKind::DeleteRange if value.first() != Some(&table) && value != [table + 1] => {
                return Err(malformed("a range ends in another table"));
            }
            OpKind::DeleteRange if value.len() > limits::MAX_KEY_BYTES + 1 => {
                return Err(malformed("a key is longer than the limit"));
            }
            _ => {}
        }
        if op.kind == OpKind::Put {
            let within = |slot: usize, (start, end): (usize, usize)| slot >= start && slot + 8 <= end;
            while let Some(slot) =
                slots.next_if(|&slot| within(slot, (op.key.0 + 1, op.key.1)) || within(slot, op.value))
            {
                debug_assert!(slot + 8 <= batch.ops.len());
            }
        }
    }
    if slots.peek().is_some() {
        return Err(malformed("a position slot outside of keys and values"));
    }
    Ok(())
}

fn check_key(key: &[u8]) -> Result<u8, StorageError> {
    if key.len() > limits::MAX_KEY_BYTES + 1 {
        return Err(malformed("a key is longer than the limit"));
    }
    key.first().copied().ok_or_else(|| malformed("a key without a table"))
}

fn write_length(bytes: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        bytes.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
}

const fn length_len(length: usize) -> usize {
    let bits = (usize::BITS - length.leading_zeros()) as usize;
    if bits <= 7 { 1 } else { bits.div_ceil(7) }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn byte(&mut self) -> Result<u8, StorageError> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| malformed("a batch ends too early"))?;
        self.at += 1;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StorageError> {
        let array = self.bytes[self.at..].first_chunk().ok_or_else(|| malformed("a batch ends too early"))?;
        self.at += N;
        Ok(*array)
    }

    /// A length of at most [`limits::MAX_BATCH_BYTES`].
    fn length(&mut self) -> Result<usize, StorageError> {
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(length);
            }
        }
        Err(malformed("a length is too big"))
    }

    /// A length and where that many bytes lie.
    fn span(&mut self) -> Result<(usize, usize), StorageError> {
        let length = self.length()?;
        let start = self.at;
        let end = start + length;
        if end > self.bytes.len() {
            return Err(malformed("a batch ends too early"));
        }
        self.at = end;
        Ok((start, end))
    }
}

fn malformed(what: &str) -> StorageError {
    StorageError::Malformed(what.to_owned())
}
