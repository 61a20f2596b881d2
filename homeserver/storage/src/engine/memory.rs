//! The in-memory engine, for tests and simulations: a disk that fails on command.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use rpds::RedBlackTreeMapSync;

use crate::StorageError;

/// Keys in order; copies share what they have in common.
type Rows = RedBlackTreeMapSync<Bytes, Bytes>;

/// How a write fails. Either way the store is answered an error, so that the writers' outcomes are unknown, and takes no more
/// writes until it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of it reaches the disk.
    NotApplied,
    /// It reaches the disk, but the answer is an error.
    Applied,
    /// The machine loses power before it: nothing of it, nor of what was not yet synced, is there afterwards.
    PowerLoss,
}

/// A disk in memory, and what goes wrong with it. Clones are the same disk: keep one, drop the store, and open the disk again.
#[derive(Clone, Default)]
pub struct Faults {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    /// What has been written.
    rows: Rows,
    /// What would survive a loss of power.
    synced: Rows,
    /// How often power was lost.
    boots: u64,
    /// How often it was opened: only the last to open it may write, as if the others' processes had ended.
    opens: u64,
    reads: u64,
    writes: u64,
    syncs: u64,
    write_faults: BTreeMap<u64, Fault>,
    read_faults: u64,
    sync_time: Duration,
}

impl Faults {
    /// A new, empty disk on which nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// Lets the `nth` write from now on fail (1 is the next). Writes are groups of batches, not batches.
    pub fn fail_write(&self, nth: u64, fault: Fault) -> &Self {
        let mut disk = self.disk.lock();
        let at = disk.writes + nth;
        disk.write_faults.insert(at, fault);
        self
    }

    /// Lets the next `count` reads fail.
    pub fn fail_reads(&self, count: u64) -> &Self {
        self.disk.lock().read_faults = count;
        self
    }

    /// Loses power now: what was not synced is gone, and stores that are open on this disk can write no more.
    pub fn lose_power(&self) -> &Self {
        self.disk.lock().lose_power();
        self
    }

    /// How long a synced write takes, in the world's time.
    pub fn set_sync_time(&self, time: Duration) -> &Self {
        self.disk.lock().sync_time = time;
        self
    }

    /// How many keys have been looked up and rows of scans been read, so that a test can tell what something costs.
    pub fn reads(&self) -> u64 {
        self.disk.lock().reads
    }

    /// How many groups have been written.
    pub fn writes(&self) -> u64 {
        self.disk.lock().writes
    }

    /// How many syncs there were.
    pub fn syncs(&self) -> u64 {
        self.disk.lock().syncs
    }

    pub(crate) fn sync_time(&self) -> Duration {
        self.disk.lock().sync_time
    }

    /// Counts reads; the error of one that is to fail.
    fn check_reads(&self, count: usize) -> Result<(), StorageError> {
        let mut disk = self.disk.lock();
        disk.reads += count as u64;
        if disk.read_faults == 0 {
            return Ok(());
        }
        disk.read_faults -= 1;
        Err(StorageError::Engine("an injected fault: the read failed".to_owned()))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.disk.lock();
        f.debug_struct("Faults").field("rows", &disk.rows.size()).field("writes", &disk.writes).finish_non_exhaustive()
    }
}

impl Disk {
    fn lose_power(&mut self) {
        self.rows = self.synced.clone();
        self.boots += 1;
    }
}

/// A disk in use.
pub(crate) struct MemoryEngine {
    faults: Faults,
    /// Which start of the machine this is.
    boot: u64,
    /// Which opening of the disk this is.
    open: u64,
}

impl MemoryEngine {
    pub(crate) fn open(faults: Faults) -> Self {
        let mut disk = faults.disk.lock();
        disk.opens += 1;
        let (boot, open) = (disk.boots, disk.opens);
        drop(disk);
        Self { faults, boot, open }
    }

    pub(crate) fn snapshot(&self) -> MemorySnapshot {
        MemorySnapshot { rows: self.faults.disk.lock().rows.clone(), faults: self.faults.clone() }
    }

    pub(crate) fn get_with<R>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> R) -> Result<R, StorageError> {
        self.faults.check_reads(1)?;
        let value = self.faults.disk.lock().rows.get(key).cloned();
        Ok(read(value.as_deref()))
    }

    pub(crate) fn write(&self, writes: MemoryWrites, sync: bool) -> Result<(), StorageError> {
        let mut disk = self.faults.disk.lock();
        self.check_usable(&disk)?;
        disk.writes += 1;
        let write = disk.writes;
        let fault = disk.write_faults.remove(&write);
        match fault {
            None | Some(Fault::Applied) => {}
            Some(Fault::NotApplied) => {
                return Err(StorageError::Engine("an injected fault: the write failed".to_owned()));
            }
            Some(Fault::PowerLoss) => {
                disk.lose_power();
                return Err(StorageError::Engine("an injected fault: power was lost".to_owned()));
            }
        }
        for write in writes.0 {
            match write {
                Write::Put(key, value) => disk.rows.insert_mut(key, value),
                Write::Delete(key) => {
                    disk.rows.remove_mut(&key);
                }
                Write::DeleteRange(start, end) => {
                    let keys: Vec<Bytes> = range(&disk.rows, &start, &end).map(|(key, _)| key.clone()).collect();
                    for key in keys {
                        disk.rows.remove_mut(&key);
                    }
                }
            }
        }
        if sync {
            disk.synced = disk.rows.clone();
            disk.syncs += 1;
        }
        match fault {
            Some(_) => {
                Err(StorageError::Engine("an injected fault: the write was applied but not answered".to_owned()))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn disk_bytes(&self, start: &[u8], end: &[u8]) -> u64 {
        let snapshot = self.snapshot();
        let mut rows = snapshot.scan(start, end, false);
        let mut bytes = 0;
        while let Some(Ok(row)) = rows.next_with(|key, value| key.len() + value.len()) {
            bytes += row as u64;
        }
        bytes
    }

    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        let mut disk = self.faults.disk.lock();
        self.check_usable(&disk)?;
        disk.synced = disk.rows.clone();
        disk.syncs += 1;
        Ok(())
    }

    pub(crate) fn boot_id(&self) -> Vec<u8> {
        self.boot.to_be_bytes().to_vec()
    }

    fn check_usable(&self, disk: &Disk) -> Result<(), StorageError> {
        if disk.boots != self.boot {
            return Err(StorageError::Engine(
                "an injected fault: power was lost since the store was opened".to_owned(),
            ));
        }
        if disk.opens != self.open {
            return Err(StorageError::Engine("the disk has been opened again since".to_owned()));
        }
        Ok(())
    }
}

/// Writes that are applied together.
#[derive(Default)]
pub(crate) struct MemoryWrites(Vec<Write>);

enum Write {
    Put(Bytes, Bytes),
    Delete(Bytes),
    DeleteRange(Bytes, Bytes),
}

impl MemoryWrites {
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.push(Write::Put(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
    }

    pub(crate) fn delete(&mut self, key: &[u8]) {
        self.0.push(Write::Delete(Bytes::copy_from_slice(key)));
    }

    pub(crate) fn delete_range(&mut self, start: &[u8], end: &[u8]) {
        self.0.push(Write::DeleteRange(Bytes::copy_from_slice(start), Bytes::copy_from_slice(end)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the disk held at one moment.
pub(crate) struct MemorySnapshot {
    rows: Rows,
    faults: Faults,
}

impl MemorySnapshot {
    pub(crate) fn get_with<R>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> R) -> Result<R, StorageError> {
        self.faults.check_reads(1)?;
        Ok(read(self.rows.get(key).map(|value| &**value)))
    }

    pub(crate) fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StorageError> {
        self.faults.check_reads(keys.len())?;
        Ok(keys.iter().map(|key| self.rows.get(*key).cloned()).collect())
    }

    pub(crate) fn scan(&self, start: &[u8], end: &[u8], reverse: bool) -> MemoryScan<'_> {
        let rows = range(&self.rows, start, end);
        let rows: Box<dyn Iterator<Item = (&Bytes, &Bytes)> + Send + '_> =
            if reverse { Box::new(rows.rev()) } else { Box::new(rows) };
        let bounds = (Bytes::copy_from_slice(start), Bytes::copy_from_slice(end));
        MemoryScan { rows, all: &self.rows, bounds, faults: &self.faults }
    }
}

/// Rows of a range, one after the other.
pub(crate) struct MemoryScan<'a> {
    rows: Box<dyn Iterator<Item = (&'a Bytes, &'a Bytes)> + Send + 'a>,
    all: &'a Rows,
    bounds: (Bytes, Bytes),
    faults: &'a Faults,
}

impl MemoryScan<'_> {
    pub(crate) fn next_with<R>(&mut self, read: impl FnOnce(&[u8], &[u8]) -> R) -> Option<Result<R, StorageError>> {
        if let Err(error) = self.faults.check_reads(1) {
            self.rows = Box::new(std::iter::empty());
            return Some(Err(error));
        }
        self.rows.next().map(|(key, value)| Ok(read(key, value)))
    }

    /// Goes on, in key order, with the first row at or after a key.
    pub(crate) fn seek(&mut self, key: &[u8]) {
        self.rows = Box::new(range(self.all, key.max(&self.bounds.0[..]), &self.bounds.1));
    }
}

fn range<'a>(
    rows: &'a Rows,
    start: &[u8],
    end: &[u8],
) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)> + Send + use<'a> {
    let start = Bytes::copy_from_slice(start);
    // An empty range is written so that the map does not object to its bounds.
    let end = Bytes::copy_from_slice(end).max(start.clone());
    rows.range::<Bytes, _>(start..end)
}
