//! Consistent reads at one position.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    Position, StorageError, Table,
    encoding::range_end,
    engine::{EngineScan, EngineSnapshot},
    key::prefix_end,
    schema::CURSORS,
};

/// What the store held at one position. Clones share it; the disk space of what was overwritten since is held while it lives.
#[derive(Clone)]
pub struct Snapshot {
    inner: Arc<Inner>,
}

struct Inner {
    position: Position,
    engine: EngineSnapshot,
}

impl Snapshot {
    pub(crate) fn new(position: Position, engine: EngineSnapshot) -> Self {
        Self { inner: Arc::new(Inner { position, engine }) }
    }

    /// The position of the last batch that it holds.
    pub fn position(&self) -> Position {
        self.inner.position
    }

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// This and all other reads: [`StorageError::Engine`] if the disk fails; never taken for "absent".
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.get_with(table, key, |value| value.map(Bytes::copy_from_slice))
    }

    /// Reads a value in place, without copying it.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::get`].
    pub fn get_with<R>(
        &self,
        table: Table,
        key: &[u8],
        read: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R, StorageError> {
        self.inner.engine.get_with(table.access, &stored_key(table, key), read)
    }

    /// Whether a key holds anything.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::get`].
    pub fn contains(&self, table: Table, key: &[u8]) -> Result<bool, StorageError> {
        self.get_with(table, key, |value| value.is_some())
    }

    /// The values of many keys, in their order, in one go; cheapest when the keys are sorted.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::get`].
    pub fn multi_get<K: AsRef<[u8]>>(&self, table: Table, keys: &[K]) -> Result<Vec<Option<Bytes>>, StorageError> {
        let mut stored = Vec::with_capacity(keys.iter().map(|key| key.as_ref().len() + 1).sum());
        for key in keys {
            stored.push(table.id);
            stored.extend_from_slice(key.as_ref());
        }
        let mut rest = stored.as_slice();
        let slices: Vec<&[u8]> = keys
            .iter()
            .map(|key| {
                let (first, others) = rest.split_at(key.as_ref().len() + 1);
                rest = others;
                first
            })
            .collect();
        self.inner.engine.multi_get(table.access, &slices)
    }

    /// The rows from `range.start` on and before `range.end` (an empty end is the end of the table), in key order.
    pub fn scan<K: AsRef<[u8]>>(&self, table: Table, range: Range<K>) -> Scan<'_> {
        self.scan_between(table, range.start.as_ref(), range.end.as_ref(), false)
    }

    /// The rows of [`Snapshot::scan`] in reverse order: from the last before `range.end` down to `range.start`.
    pub fn scan_rev<K: AsRef<[u8]>>(&self, table: Table, range: Range<K>) -> Scan<'_> {
        self.scan_between(table, range.start.as_ref(), range.end.as_ref(), true)
    }

    /// The rows whose keys start with `prefix`, in key order.
    pub fn scan_prefix(&self, table: Table, prefix: &[u8]) -> Scan<'_> {
        self.scan_between(table, prefix, &prefix_end(prefix), false)
    }

    /// The rows whose keys start with `prefix`, in reverse order.
    pub fn scan_prefix_rev(&self, table: Table, prefix: &[u8]) -> Scan<'_> {
        self.scan_between(table, prefix, &prefix_end(prefix), true)
    }

    /// How far the named reader of the log has come ([`crate::Batch::set_cursor`]).
    ///
    /// # Errors
    ///
    /// As [`Snapshot::get`].
    pub fn cursor(&self, name: &str) -> Result<Option<Position>, StorageError> {
        self.get_with(CURSORS, name.as_bytes(), |value| value.map(read_position).transpose())?
    }

    fn scan_between(&self, table: Table, start: &[u8], end: &[u8], reverse: bool) -> Scan<'_> {
        let start = stored_key(table, start).to_vec();
        let end = range_end(table.id, end).to_vec();
        Scan { table, rows: self.inner.engine.scan(table.access, start, end, reverse) }
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("position", &self.inner.position).finish()
    }
}

/// Rows of a scan. As an iterator it copies each key and value; [`Scan::next_with`] reads them in place.
pub struct Scan<'a> {
    table: Table,
    rows: EngineScan<'a>,
}

impl Scan<'_> {
    /// Reads the next row in place: its key (without the table) and its value.
    pub fn next_with<R>(&mut self, read: impl FnOnce(&[u8], &[u8]) -> R) -> Option<Result<R, StorageError>> {
        self.rows.next_with(|key, value| read(key.get(1..).unwrap_or_default(), value))
    }

    /// Goes on, in key order, with the first row of the scan's range whose key is not less than this one. Whoever wants some rows
    /// from many places moves one scan about, since making one costs about as much as finding a row.
    pub fn seek(&mut self, key: &[u8]) {
        self.rows.seek(&stored_key(self.table, key));
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(Bytes, Bytes), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with(|key, value| (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)))
    }
}

/// A key as it is stored: behind its table's id.
pub(crate) fn stored_key(table: Table, key: &[u8]) -> SmallVec<[u8; 96]> {
    let mut stored = SmallVec::new();
    stored.push(table.id);
    stored.extend_from_slice(key);
    stored
}

/// A position as a stored value.
pub(crate) fn read_position(value: &[u8]) -> Result<Position, StorageError> {
    value
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| StorageError::Malformed(format!("a stored position has {} bytes instead of 8", value.len())))
}
