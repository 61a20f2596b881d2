//! The log-first store: batches, snapshots, ordered tables, feeds.
