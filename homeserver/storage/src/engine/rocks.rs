//! The RocksDB engine: one column family per access pattern, all sharing one block cache and one budget of write buffers.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB,
    DBCompressionType, DBRawIterator, DBRecoveryMode, DataBlockIndexType, LogLevel, Range, ReadOptions,
    SnapshotWithThreadMode, WriteBatch, WriteBufferManager, WriteOptions,
};

use crate::{Access, Options, StorageError};

/// An open database.
pub(crate) struct RocksEngine {
    db: Arc<DB>,
    /// Read options without a snapshot, made once.
    newest: ReadOptions,
}

impl RocksEngine {
    /// Opens or creates the database in this folder.
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Self, StorageError> {
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let families = [Access::Point, Access::Range, Access::Append, Access::Cold]
            .map(|access| ColumnFamilyDescriptor::new(family_name(access), family_options(access, options, &cache)));
        let db = DB::open_cf_descriptors(&database_options(options), path, families).map_err(|cause| {
            let cause = cause.into_string();
            let hint = if cause.contains("LOCK") { " (is another process using it?)" } else { "" };
            StorageError::Engine(format!("cannot open the database in {}{hint}: {cause}", path.display()))
        })?;
        let engine = Self { db: Arc::new(db), newest: ReadOptions::default() };
        engine.prepare_log(path, options.prepared_log_bytes)?;
        Ok(engine)
    }

    /// Leaves the log in a file that has so many bytes already, of which none counts. Does nothing where the disk is nearly full: what is
    /// left is for what people send, and after a failed write the engine takes none.
    fn prepare_log(&self, folder: &Path, bytes: usize) -> Result<(), StorageError> {
        if bytes == 0 || !has_room(folder, 2 * bytes) {
            return Ok(());
        }
        let family = family(&self.db, Access::Cold);
        let filler = vec![0; bytes.min(MIB)];
        for _ in 0..bytes.div_ceil(MIB) {
            self.db.put_cf(family, FILLER, &filler).map_err(failed)?;
        }
        self.sync()?;
        // Once what it says is in a table, the file is one of those to be used again; the log that begins after that takes it.
        self.db.flush_cf(family).map_err(failed)?;
        self.db.delete_cf(family, FILLER).map_err(failed)?;
        self.db.flush_cf(family).map_err(failed)
    }

    pub(crate) fn snapshot(&self) -> RocksSnapshot {
        // SAFETY: the reference outlives the snapshot, which is dropped before the `Arc` beside it in the same struct; the
        // database behind the `Arc` does not move.
        let db: &'static DB = unsafe { &*Arc::as_ptr(&self.db) };
        let snapshot = db.snapshot();
        let mut read = ReadOptions::default();
        read.set_snapshot(&snapshot);
        RocksSnapshot { read, snapshot, db: self.db.clone() }
    }

    pub(crate) fn get_with<R>(
        &self,
        access: Access,
        key: &[u8],
        read: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R, StorageError> {
        get_with(&self.db, &self.newest, access, key, read)
    }

    pub(crate) fn begin(&self, bytes: usize) -> RocksWrites {
        RocksWrites { batch: WriteBatch::with_capacity_bytes(bytes), db: self.db.clone() }
    }

    pub(crate) fn write(&self, writes: RocksWrites, sync: bool) -> Result<(), StorageError> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(writes.batch, &options).map_err(failed)
    }

    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.db.flush_wal(true).map_err(failed)
    }

    /// Brings the rows of a range from memory to disk and rewrites their files without what was overwritten or deleted.
    pub(crate) fn compact(&self, access: Access, start: &[u8], end: &[u8]) -> Result<(), StorageError> {
        let family = family(&self.db, access);
        self.db.flush_cf(family).map_err(failed)?;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        self.db.compact_range_cf_opt(family, Some(start), Some(end), &options);
        Ok(())
    }

    pub(crate) fn flush(&self, access: Access) -> Result<(), StorageError> {
        self.db.flush_cf(family(&self.db, access)).map_err(failed)
    }

    /// About how many bytes of files the rows of a range take.
    pub(crate) fn disk_bytes(&self, access: Access, start: &[u8], end: &[u8]) -> u64 {
        self.db.get_approximate_sizes_cf(family(&self.db, access), &[Range::new(start, end)]).into_iter().sum()
    }
}

/// Writes that become visible and durable together.
pub(crate) struct RocksWrites {
    batch: WriteBatch,
    db: Arc<DB>,
}

impl RocksWrites {
    pub(crate) fn put(&mut self, access: Access, key: &[u8], value: &[u8]) {
        self.batch.put_cf(family(&self.db, access), key, value);
    }

    pub(crate) fn delete(&mut self, access: Access, key: &[u8]) {
        self.batch.delete_cf(family(&self.db, access), key);
    }

    pub(crate) fn delete_range(&mut self, access: Access, start: &[u8], end: &[u8]) {
        // RocksDB refuses a range that ends before it starts.
        if start < end {
            self.batch.delete_range_cf(family(&self.db, access), start, end);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }
}

/// What the database held at one moment.
pub(crate) struct RocksSnapshot {
    // The order matters: fields are dropped from the first to the last, and each points into the next.
    read: ReadOptions,
    snapshot: SnapshotWithThreadMode<'static, DB>,
    db: Arc<DB>,
}

impl RocksSnapshot {
    pub(crate) fn get_with<R>(
        &self,
        access: Access,
        key: &[u8],
        read: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R, StorageError> {
        get_with(&self.db, &self.read, access, key, read)
    }

    pub(crate) fn multi_get(&self, access: Access, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StorageError> {
        let sorted = keys.is_sorted();
        self.db
            .batched_multi_get_cf_opt(family(&self.db, access), keys.iter().copied(), sorted, &self.read)
            .into_iter()
            .map(|value| value.map(|value| value.map(|value| Bytes::copy_from_slice(&value))).map_err(failed))
            .collect()
    }

    pub(crate) fn scan(&self, access: Access, start: Vec<u8>, end: Vec<u8>, reverse: bool) -> RocksScan<'_> {
        let mut read = ReadOptions::default();
        read.set_snapshot(&self.snapshot);
        // RocksDB does not say what happens when the bounds are the wrong way round.
        let empty = start >= end;
        read.set_iterate_lower_bound(start);
        read.set_iterate_upper_bound(end);
        let rows = self.db.raw_iterator_cf_opt(family(&self.db, access), read);
        RocksScan { rows, reverse, empty, state: if empty { ScanState::Done } else { ScanState::New } }
    }
}

/// Rows of a range, one after the other.
pub(crate) struct RocksScan<'a> {
    rows: DBRawIterator<'a>,
    reverse: bool,
    /// Whether the range has no keys at all.
    empty: bool,
    state: ScanState,
}

#[derive(PartialEq, Eq)]
enum ScanState {
    New,
    /// The row that comes next has been sought already.
    Sought,
    Within,
    Done,
}

impl RocksScan<'_> {
    pub(crate) fn next_with<R>(&mut self, read: impl FnOnce(&[u8], &[u8]) -> R) -> Option<Result<R, StorageError>> {
        match (&self.state, self.reverse) {
            (ScanState::New, false) => self.rows.seek_to_first(),
            (ScanState::New, true) => self.rows.seek_to_last(),
            (ScanState::Sought, _) => {}
            (ScanState::Within, false) => self.rows.next(),
            (ScanState::Within, true) => self.rows.prev(),
            (ScanState::Done, _) => return None,
        }
        self.state = ScanState::Within;
        if let Some((key, value)) = self.rows.item() {
            return Some(Ok(read(key, value)));
        }
        self.state = ScanState::Done;
        self.rows.status().err().map(|cause| Err(failed(cause)))
    }

    /// Goes on, in key order, with the first row at or after a key.
    pub(crate) fn seek(&mut self, key: &[u8]) {
        if !self.empty {
            self.reverse = false;
            self.rows.seek(key);
            self.state = ScanState::Sought;
        }
    }
}

/// The running kernel's boot id; empty where there is none, which is taken for another boot each time.
pub(crate) fn boot_id() -> Vec<u8> {
    std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

fn get_with<R>(
    db: &DB,
    options: &ReadOptions,
    access: Access,
    key: &[u8],
    read: impl FnOnce(Option<&[u8]>) -> R,
) -> Result<R, StorageError> {
    let value = db.get_pinned_cf_opt(family(db, access), key, options).map_err(failed)?;
    Ok(read(value.as_deref()))
}

fn failed(cause: rocksdb::Error) -> StorageError {
    StorageError::Engine(cause.into_string())
}

const fn family_name(access: Access) -> &'static str {
    match access {
        Access::Point => "point",
        Access::Range => "range",
        Access::Append => "append",
        Access::Cold => "cold",
    }
}

fn family(db: &DB, access: Access) -> &ColumnFamily {
    db.cf_handle(family_name(access)).expect("the families of all access patterns are created when opening")
}

/// Whether a file of so many bytes can be written here. It is gone before any of it has to reach the disk.
fn has_room(folder: &Path, bytes: usize) -> bool {
    let path = folder.join("room.tmp");
    let chunk = vec![0; bytes.min(MIB)];
    let written =
        File::create(&path).and_then(|mut file| (0..bytes.div_ceil(MIB)).try_for_each(|_| file.write_all(&chunk)));
    fs::remove_file(&path).is_ok() && written.is_ok()
}

/// The key of what is written only for the log to grow. No row has it, as keys of rows begin with the table's id.
const FILLER: &[u8] = b"";

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn database_options(options: &Options) -> rocksdb::Options {
    let mut db = rocksdb::Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    db.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(options.write_buffer_bytes, false));
    // Reused log files have their blocks already, so that a sync does not have to write the file's metadata too.
    db.set_recycle_log_file_num(2);
    db.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    db.set_max_total_wal_size((4 * options.write_buffer_bytes) as u64);
    // One thread writes; what helps many writers only costs it.
    db.set_allow_concurrent_memtable_write(false);
    db.set_enable_write_thread_adaptive_yield(false);
    db.set_avoid_unnecessary_blocking_io(true);
    db.set_max_background_jobs(2);
    db.set_max_open_files(options.open_files);
    db.set_max_file_opening_threads(1);
    db.set_table_cache_num_shard_bits(2);
    db.set_skip_stats_update_on_db_open(true);
    db.set_bytes_per_sync(MIB as u64);
    db.set_manifest_preallocation_size(64 * KIB);
    db.set_max_manifest_file_size(4 * MIB);
    // Its own log file: warnings only, and few of them.
    db.set_log_level(LogLevel::Warn);
    db.set_keep_log_file_num(2);
    db.set_max_log_file_size(MIB);
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    db
}

fn family_options(access: Access, options: &Options, cache: &Cache) -> rocksdb::Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_format_version(6);
    // Indexes and filters count against the cache, so that memory stays bounded; those of young files stay.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_optimize_filters_for_memory(true);
    let mut family = rocksdb::Options::default();
    match access {
        Access::Point => {
            // A lookup pays for a whole block, and its neighbours, whose keys most often begin with hashes, are of no use to the next.
            blocks.set_block_size(4 * KIB);
            // Most lookups are in vain or of hot rows; 10 bits per key keep 99 of 100 in-vain ones off the disk.
            blocks.set_hybrid_ribbon_filter(10.0, 1);
            blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        }
        Access::Range => {
            blocks.set_block_size(8 * KIB);
            blocks.set_hybrid_ribbon_filter(10.0, 1);
        }
        Access::Append => blocks.set_block_size(16 * KIB),
        Access::Cold => {
            blocks.set_block_size(32 * KIB);
            blocks.set_hybrid_ribbon_filter(10.0, 1);
        }
    }
    family.set_block_based_table_factory(&blocks);
    family.set_compression_type(if access == Access::Cold { DBCompressionType::Zstd } else { DBCompressionType::Lz4 });
    if access == Access::Cold {
        family.set_bottommost_compression_type(DBCompressionType::Zstd);
    }
    family.set_write_buffer_size((options.write_buffer_bytes / 2).max(256 * KIB));
    family.set_max_write_buffer_number(3);
    family.set_arena_block_size(64 * KIB);
    family.set_level_compaction_dynamic_level_bytes(true);
    family.set_target_file_size_base(16 * MIB as u64);
    family.set_max_bytes_for_level_base(64 * MIB as u64);
    // Deleted ranges and rows are cleaned out in the background even where nothing new is written.
    family.set_periodic_compaction_seconds(7 * 24 * 3600);
    family
}
