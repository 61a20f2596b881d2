//! The ids of recent batches and what they were answered, so that a retry is answered the same.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, DefaultHasher},
};

use bytes::Bytes;

use crate::{BatchId, Position, limits};

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    /// Where it was committed; for a conflict, where the log was.
    pub(crate) position: Position,
    /// The stored key whose precondition failed.
    pub(crate) conflict: Option<Bytes>,
}

/// Ids of the last [`limits::REMEMBERED_POSITIONS`] positions. Which ids those are follows from the log alone.
#[derive(Default)]
pub(crate) struct Remembered {
    by_id: HashMap<BatchId, Decided, BuildHasherDefault<DefaultHasher>>,
    /// Committed ids, oldest first.
    committed: VecDeque<(Position, BatchId)>,
    /// Ids that met a conflict, oldest first.
    conflicts: VecDeque<(Position, BatchId)>,
}

impl Remembered {
    /// What became of the batch with this id, when the log is at `position`.
    pub(crate) fn get(&self, id: BatchId, position: Position) -> Option<&Decided> {
        self.by_id.get(&id).filter(|decided| recent(decided.position, position))
    }

    /// Remembers an outcome, when the log is at its position; forgets those that are too old by then.
    pub(crate) fn insert(&mut self, id: BatchId, decided: Decided) {
        let now = decided.position;
        let by_age = if decided.conflict.is_none() { &mut self.committed } else { &mut self.conflicts };
        // Conflicts take no position, so that they need a bound of their own.
        while let Some(&(position, oldest)) = by_age.front()
            && (!recent(position, now)
                || by_age.len() >= limits::MAX_REMEMBERED_CONFLICTS && decided.conflict.is_some())
        {
            by_age.pop_front();
            // The id may have been used again since it was too old to be recognised.
            if self.by_id.get(&oldest).is_some_and(|decided| decided.position == position) {
                self.by_id.remove(&oldest);
            }
        }
        by_age.push_back((now, id));
        self.by_id.insert(id, decided);
    }
}

/// Whether what was decided at `position` is still remembered at `now`.
pub(crate) const fn recent(position: Position, now: Position) -> bool {
    now.saturating_sub(position) <= limits::REMEMBERED_POSITIONS
}
