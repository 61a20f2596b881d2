//! How the RocksDB engine is opened.

/// How a store is opened. The defaults suit a server of a small organisation.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether a commit of [`Class::Synced`](crate::Class::Synced) waits until the log is on disk. Without it, a loss of power
    /// can lose what was acknowledged in the last moments; positions that were lost are not used again.
    pub sync: bool,
    /// Bytes of the cache of uncompressed blocks that all tables share, which fills as they are read.
    pub block_cache_bytes: usize,
    /// Bytes of the write buffers of all tables together.
    pub write_buffer_bytes: usize,
    /// Bytes of the log's file that are written before they are needed, when the store is opened: syncing a log that grows costs about twice as
    /// much as syncing one that is written over, as its length has to be written too. (Later the engine uses its old log files again.) Left out
    /// where the disk does not have twice as much room.
    pub prepared_log_bytes: usize,
    /// How many positions of the log are kept at least, for durable readers that fell behind.
    pub log_retention: u64,
    /// How many cold scans ([`Store::read`](crate::Store::read)) run beside each other.
    pub readers: usize,
    /// How many files the engine keeps open.
    pub open_files: i32,
    /// Choose a new incarnation: set by whoever opens data that were restored from a backup, so that positions which clients
    /// remember are not taken for positions of this log.
    pub restored: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sync: true,
            block_cache_bytes: 64 * 1024 * 1024,
            write_buffer_bytes: 8 * 1024 * 1024,
            prepared_log_bytes: 0,
            log_retention: 256 * 1024,
            readers: 4,
            open_files: 256,
            restored: false,
        }
    }
}
