//! The log-first store: batches, snapshots, ordered tables, feeds. Knows nothing of Matrix.
//!
//! Everything durable is a [`Batch`] of puts, deletes and range deletes with preconditions, under an id that its writer chose.
//! [`Store::commit`] answers [`Outcome::Committed`] with the batch's [`Position`] in the log, [`Outcome::Conflict`] with the
//! precondition that failed, or [`Outcome::Unknown`]. Positions are dense and increasing; readers see a [`Snapshot`] at one of
//! them and are woken by [`Topic`] ([`Store::subscribe`]); work that must not be forgotten reads [`Store::log`] from a durable
//! cursor.
//!
//! Outcomes are a pure function of the log before them, and a batch is serialisable data ([`Batch::encode`]), so that the same
//! batches can later travel through a replicated log.

mod batch;
mod commit;
mod encoding;
mod engine;
mod error;
mod feed;
pub mod key;
mod leases;
pub mod limits;
mod log;
mod options;
mod overlay;
mod queue;
mod recovery;
mod remembered;
mod schema;
mod snapshot;
mod store;
mod topic;

pub use crate::batch::{
    Batch, BatchId, Class, ConflictAt, Outcome, PositionedKey, PositionedValue, Precondition, Version,
};
pub use crate::engine::memory::{Fault, Faults};
pub use crate::error::StorageError;
pub use crate::feed::{Subscription, VolatileFeed};
pub use crate::leases::{Lease, Leases};
pub use crate::log::{Log, LogEntry};
pub use crate::options::Options;
pub use crate::schema::{Access, Schema, Table};
pub use crate::snapshot::{Scan, Snapshot};
pub use crate::store::{Statistics, Store};
pub use crate::topic::Topic;

/// A batch's place in the log; 0 is before the first batch.
pub type Position = u64;
