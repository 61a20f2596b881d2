//! The declared limits, the same on every engine. A batch that breaks one is refused whole and changes nothing.

/// Bytes of an encoded batch.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// Bytes of a key, as the caller gives it.
pub const MAX_KEY_BYTES: usize = 4 * 1024;
/// Bytes of a value.
pub const MAX_VALUE_BYTES: usize = 896 * 1024;
/// Topics of one batch.
pub const MAX_TOPICS: usize = 8 * 1024;
/// Position slots in one key or value.
pub const MAX_SLOTS: usize = 16;
/// Bytes of the name of a lease or cursor, and of a lease's owner.
pub const MAX_NAME_BYTES: usize = 512;
/// For how many positions a batch's id is remembered: within them, a retry answers what the first try answered.
pub const REMEMBERED_POSITIONS: u64 = 16_384;
/// How many conflicts are remembered at most; a retry of an older one is decided anew.
pub const MAX_REMEMBERED_CONFLICTS: usize = 16_384;
/// Bytes of the batches that wait for the committer; further writers wait for room.
pub const MAX_QUEUED_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of the batches that are written and synced together (one batch may exceed it).
pub const MAX_GROUP_BYTES: usize = 4 * 1024 * 1024;
/// How many batches are written and synced together.
pub const MAX_GROUP_BATCHES: usize = 1024;
/// Positions that may be announced before they are synced; a group that would exceed it is synced. After a loss of power
/// positions continue behind this many, so that none that was announced and lost is ever used again.
pub const MAX_UNSYNCED_POSITIONS: u64 = 4_096;
/// How many positions are trimmed from the log at a time.
pub const TRIM_STEP: u64 = 4_096;
/// How often, in positions, the committer looks whether there is something to trim.
pub const TRIM_CHECK: u64 = 256;
/// A cursor that is further behind than this many times [`Options::log_retention`](crate::Options::log_retention) no longer
/// holds up trimming; its reader is told [`StorageError::Trimmed`](crate::StorageError::Trimmed).
pub const MAX_CURSOR_LAG: u64 = 16;
