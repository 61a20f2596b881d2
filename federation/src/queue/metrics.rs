//! What the queues count.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start of the process, for the program to publish.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Transactions that were taken.
    pub transactions_sent: AtomicU64,
    /// Attempts that failed.
    pub transactions_failed: AtomicU64,
    /// PDUs in transactions that were taken.
    pub pdus_sent: AtomicU64,
    /// PDUs in them that the peer says it refused.
    pub pdus_refused: AtomicU64,
    /// EDUs in transactions that were taken.
    pub edus_sent: AtomicU64,
    /// Rows that were given up, because their destination refused them time and again as nonsense.
    pub rows_given_up: AtomicU64,
    /// Typing, receipts and presence that were dropped for want of room.
    pub volatile_dropped: AtomicU64,
}

impl Metrics {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}
