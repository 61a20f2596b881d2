//! What an engine does: ordered keys, atomic writes, consistent snapshots. Preconditions, positions, feeds and everything else
//! are built on top, once for all engines.

pub(crate) mod memory;
pub(crate) mod rocks;

use bytes::Bytes;

use crate::{Access, StorageError};

use memory::{MemoryEngine, MemoryScan, MemorySnapshot, MemoryWrites};
use rocks::{RocksEngine, RocksScan, RocksSnapshot, RocksWrites};

/// An open engine. All keys begin with their table's id.
pub(crate) enum Engine {
    Rocks(RocksEngine),
    Memory(MemoryEngine),
}

/// Writes that become visible and durable together.
pub(crate) enum WriteSet {
    Rocks(RocksWrites),
    Memory(MemoryWrites),
}

/// What the engine held at one moment.
pub(crate) enum EngineSnapshot {
    Rocks(RocksSnapshot),
    Memory(MemorySnapshot),
}

/// Rows of a range, one after the other.
pub(crate) enum EngineScan<'a> {
    Rocks(RocksScan<'a>),
    Memory(MemoryScan<'a>),
}

impl Engine {
    /// What the engine holds now.
    pub(crate) fn snapshot(&self) -> EngineSnapshot {
        match self {
            Self::Rocks(engine) => EngineSnapshot::Rocks(engine.snapshot()),
            Self::Memory(engine) => EngineSnapshot::Memory(engine.snapshot()),
        }
    }

    /// Reads the newest value of a key.
    pub(crate) fn get_with<R>(
        &self,
        access: Access,
        key: &[u8],
        read: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R, StorageError> {
        match self {
            Self::Rocks(engine) => engine.get_with(access, key, read),
            Self::Memory(engine) => engine.get_with(key, read),
        }
    }

    /// An empty set of writes, with room for about this many bytes.
    pub(crate) fn begin(&self, bytes: usize) -> WriteSet {
        match self {
            Self::Rocks(engine) => WriteSet::Rocks(engine.begin(bytes)),
            Self::Memory(_) => WriteSet::Memory(MemoryWrites::default()),
        }
    }

    /// Applies the writes; with `sync`, they and all before them are on disk afterwards.
    pub(crate) fn write(&self, writes: WriteSet, sync: bool) -> Result<(), StorageError> {
        match (self, writes) {
            (Self::Rocks(engine), WriteSet::Rocks(writes)) => engine.write(writes, sync),
            (Self::Memory(engine), WriteSet::Memory(writes)) => engine.write(writes, sync),
            _ => Err(StorageError::Engine("writes of another engine".to_owned())),
        }
    }

    /// Brings everything written to disk.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        match self {
            Self::Rocks(engine) => engine.sync(),
            Self::Memory(engine) => engine.sync(),
        }
    }

    /// Gives back the disk space of what was overwritten or deleted in a range. Takes long; holds up neither reads nor writes.
    pub(crate) fn compact(&self, access: Access, start: &[u8], end: &[u8]) -> Result<(), StorageError> {
        match self {
            Self::Rocks(engine) => engine.compact(access, start, end),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Brings what is only in the write-ahead log and in memory to files.
    pub(crate) fn flush(&self, access: Access) -> Result<(), StorageError> {
        match self {
            Self::Rocks(engine) => engine.flush(access),
            Self::Memory(_) => Ok(()),
        }
    }

    /// About how many bytes on disk the rows of a range take.
    pub(crate) fn disk_bytes(&self, access: Access, start: &[u8], end: &[u8]) -> u64 {
        match self {
            Self::Rocks(engine) => engine.disk_bytes(access, start, end),
            Self::Memory(engine) => engine.disk_bytes(start, end),
        }
    }

    /// Changes whenever unsynced writes may have been lost: with each start of the machine.
    pub(crate) fn boot_id(&self) -> Vec<u8> {
        match self {
            Self::Rocks(_) => rocks::boot_id(),
            Self::Memory(engine) => engine.boot_id(),
        }
    }
}

impl WriteSet {
    /// Adds a put.
    pub(crate) fn put(&mut self, access: Access, key: &[u8], value: &[u8]) {
        match self {
            Self::Rocks(writes) => writes.put(access, key, value),
            Self::Memory(writes) => writes.put(key, value),
        }
    }

    /// Adds a delete.
    pub(crate) fn delete(&mut self, access: Access, key: &[u8]) {
        match self {
            Self::Rocks(writes) => writes.delete(access, key),
            Self::Memory(writes) => writes.delete(key),
        }
    }

    /// Adds the delete of all keys from `start` on and before `end`.
    pub(crate) fn delete_range(&mut self, access: Access, start: &[u8], end: &[u8]) {
        match self {
            Self::Rocks(writes) => writes.delete_range(access, start, end),
            Self::Memory(writes) => writes.delete_range(start, end),
        }
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Rocks(writes) => writes.is_empty(),
            Self::Memory(writes) => writes.is_empty(),
        }
    }
}

impl EngineSnapshot {
    /// Reads the value of a key.
    pub(crate) fn get_with<R>(
        &self,
        access: Access,
        key: &[u8],
        read: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R, StorageError> {
        match self {
            Self::Rocks(snapshot) => snapshot.get_with(access, key, read),
            Self::Memory(snapshot) => snapshot.get_with(key, read),
        }
    }

    /// Reads the values of many keys; the answers are in their order.
    pub(crate) fn multi_get(&self, access: Access, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StorageError> {
        match self {
            Self::Rocks(snapshot) => snapshot.multi_get(access, keys),
            Self::Memory(snapshot) => snapshot.multi_get(keys),
        }
    }

    /// The rows from `start` on and before `end`, in order or in reverse.
    pub(crate) fn scan(&self, access: Access, start: Vec<u8>, end: Vec<u8>, reverse: bool) -> EngineScan<'_> {
        match self {
            Self::Rocks(snapshot) => EngineScan::Rocks(snapshot.scan(access, start, end, reverse)),
            Self::Memory(snapshot) => EngineScan::Memory(snapshot.scan(&start, &end, reverse)),
        }
    }
}

impl EngineScan<'_> {
    /// Reads the next row.
    pub(crate) fn next_with<R>(&mut self, read: impl FnOnce(&[u8], &[u8]) -> R) -> Option<Result<R, StorageError>> {
        match self {
            Self::Rocks(scan) => scan.next_with(read),
            Self::Memory(scan) => scan.next_with(read),
        }
    }

    /// Goes on, in key order, with the first row of the range at or after a key.
    pub(crate) fn seek(&mut self, key: &[u8]) {
        match self {
            Self::Rocks(scan) => scan.seek(key),
            Self::Memory(scan) => scan.seek(key),
        }
    }
}
