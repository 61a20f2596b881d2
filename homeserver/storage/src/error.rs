//! What can go wrong.

use crate::Position;

/// Why the store did not do what it was asked. Each says what was wrong, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The disk or the engine failed.
    #[error("the store's disk failed: {0}")]
    Engine(String),
    /// An earlier write failed, so that what is on disk is uncertain: no more writes until the store is opened again.
    #[error("the store has stopped taking writes: {0}")]
    Stopped(String),
    /// The batch breaks a declared limit. Certainly not applied.
    #[error("the batch was refused: {0}")]
    Invalid(String),
    /// The batch's id is older than ids are remembered, so that the store cannot tell whether it was applied.
    #[error(
        "the batch was made at position {made_at} and the log is at {position}: too far to tell whether it was applied before"
    )]
    Forgotten {
        /// The position at which the writer chose the id.
        made_at: Position,
        /// The position of the log.
        position: Position,
    },
    /// The stored data have a newer schema version than this program.
    #[error(
        "the data were written with schema version {stored} and this program knows versions up to {known}: use a newer program"
    )]
    NewerSchema {
        /// The version in the store.
        stored: u32,
        /// The version of this program.
        known: u32,
    },
    /// The stored data have an older schema version than this program reads.
    #[error(
        "the data were written with schema version {stored} and this program reads versions from {oldest} on: use an older program that \
         brings them up to date first, or an empty folder"
    )]
    OlderSchema {
        /// The version in the store.
        stored: u32,
        /// The oldest that this program reads.
        oldest: u32,
    },
    /// The table of tables contradicts itself.
    #[error("the table of tables is wrong: {0}")]
    Schema(String),
    /// The log no longer holds what follows the position.
    #[error("the log was trimmed up to position {trimmed}; what follows position {after} is no longer whole")]
    Trimmed {
        /// Where the reader wanted to go on.
        after: Position,
        /// The last position that was trimmed.
        trimmed: Position,
    },
    /// Stored or received bytes are not what they should be.
    #[error("malformed data: {0}")]
    Malformed(String),
}

impl StorageError {
    /// Whether a batch that was answered with this was certainly not applied by this try.
    pub fn certainly_not_applied(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::Forgotten { .. } | Self::Stopped(_))
    }
}
