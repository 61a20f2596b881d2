//! The tuple codec: keys whose byte order is the order of the tuples they were made from.
//!
//! Elements have no type tags: writer and reader agree by the table's definition. Fixed-size elements (`id16`, `u64`, …) are
//! stored as they are, so that each leading part of a tuple is a prefix for scans. Strings and byte strings are ended by `00 01`
//! and have each `00` inside escaped as `00 FF`, so that a shorter string sorts before a longer one whatever follows it.

use crate::{PositionedKey, StorageError, limits};

const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xFF;
const END: u8 = 0x01;

/// Builds a key.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    slots: smallvec::SmallVec<[u32; 2]>,
}

impl Writer {
    /// An empty tuple.
    pub fn new() -> Self {
        Self { bytes: Vec::with_capacity(48), slots: smallvec::SmallVec::new() }
    }

    /// 16 bytes.
    pub fn id16(mut self, id: &[u8; 16]) -> Self {
        self.bytes.extend_from_slice(id);
        self
    }

    /// An unsigned number in 1 byte.
    pub fn u8(mut self, number: u8) -> Self {
        self.bytes.push(number);
        self
    }

    /// An unsigned number in 2 bytes.
    pub fn u16(mut self, number: u16) -> Self {
        self.bytes.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// An unsigned number in 4 bytes.
    pub fn u32(mut self, number: u32) -> Self {
        self.bytes.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// An unsigned number in 8 bytes.
    pub fn u64(mut self, number: u64) -> Self {
        self.bytes.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// A signed number in 8 bytes; negative ones sort first.
    pub fn i64(mut self, number: i64) -> Self {
        self.bytes.extend_from_slice(&flip(number).to_be_bytes());
        self
    }

    /// A string, in the order of its UTF-8 bytes.
    pub fn str(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// A byte string.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        for &byte in bytes {
            self.bytes.push(byte);
            if byte == ESCAPE {
                self.bytes.push(ESCAPED_ZERO);
            }
        }
        self.bytes.extend_from_slice(&[ESCAPE, END]);
        self
    }

    /// A byte string as the last element: neither escaped nor ended.
    pub fn tail(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// 8 bytes into which the store writes the position of the batch ([`crate::Batch::put_at_position`]); like
    /// [`Writer::u64`] afterwards.
    pub fn position_slot(mut self) -> Self {
        self.slots.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(&[0; 8]);
        self
    }

    /// The key, its position slots holding zeros.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// The key with its position slots marked.
    pub fn finish_positioned(self) -> PositionedKey {
        PositionedKey { bytes: self.bytes, slots: self.slots }
    }
}

/// Takes a key apart, element by element, in the order in which it was written.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of the key.
    pub fn new(key: &'a [u8]) -> Self {
        Self { rest: key }
    }

    /// 16 bytes.
    ///
    /// # Errors
    ///
    /// This and all others: [`StorageError::Malformed`] if the key ends before the element does.
    pub fn id16(&mut self) -> Result<[u8; 16], StorageError> {
        self.array()
    }

    /// An unsigned number in 1 byte.
    pub fn u8(&mut self) -> Result<u8, StorageError> {
        self.array().map(u8::from_be_bytes)
    }

    /// An unsigned number in 2 bytes.
    pub fn u16(&mut self) -> Result<u16, StorageError> {
        self.array().map(u16::from_be_bytes)
    }

    /// An unsigned number in 4 bytes.
    pub fn u32(&mut self) -> Result<u32, StorageError> {
        self.array().map(u32::from_be_bytes)
    }

    /// An unsigned number in 8 bytes, or a filled position slot.
    pub fn u64(&mut self) -> Result<u64, StorageError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A signed number in 8 bytes.
    pub fn i64(&mut self) -> Result<i64, StorageError> {
        self.array().map(|bytes| unflip(u64::from_be_bytes(bytes)))
    }

    /// A string.
    pub fn str(&mut self) -> Result<String, StorageError> {
        String::from_utf8(self.bytes()?).map_err(|_| malformed("a string in a key is not UTF-8"))
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Result<Vec<u8>, StorageError> {
        let mut bytes = Vec::with_capacity(self.rest.len().min(limits::MAX_KEY_BYTES));
        let mut rest = self.rest.iter();
        loop {
            match rest.next() {
                Some(&ESCAPE) => match rest.next() {
                    Some(&ESCAPED_ZERO) => bytes.push(0),
                    Some(&END) => break,
                    _ => return Err(malformed("a string in a key has an unknown escape or no end")),
                },
                Some(&byte) => bytes.push(byte),
                None => return Err(malformed("a string in a key has no end")),
            }
        }
        self.rest = rest.as_slice();
        Ok(bytes)
    }

    /// What has not been read.
    pub fn tail(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StorageError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(|| malformed("a key is too short"))?;
        self.rest = rest;
        Ok(*array)
    }
}

/// The first key after all those that start with `prefix`, as the exclusive end of a scan. Empty, which scans read as "no end",
/// if there is none (an empty prefix, or nothing but `FF`).
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last != 0xFF {
            end.push(last + 1);
            break;
        }
    }
    end
}

const fn flip(number: i64) -> u64 {
    number.cast_unsigned() ^ (1 << 63)
}

const fn unflip(number: u64) -> i64 {
    (number ^ (1 << 63)).cast_signed()
}

fn malformed(what: &str) -> StorageError {
    StorageError::Malformed(what.to_owned())
}
