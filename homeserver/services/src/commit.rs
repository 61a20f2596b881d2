//! Committing batches, and what comes of it.

use crate::{Error, Result};
use storage::{Batch, Outcome, Position, Store};

/// How often a writer tries again when others change the same thing at the same time.
pub(crate) const MAX_COMMIT_ATTEMPTS: usize = 128;

/// Commits `batch`. `None` on a conflict: read again and try with a new batch.
///
/// # Errors
///
/// 500 if the store cannot say that it is committed, also after a second try under the same id.
pub(crate) async fn commit(store: &Store, batch: Batch) -> Result<Option<Position>> {
    let again = batch.clone();
    let mut outcome = store.commit(batch).await;
    if let Outcome::Unknown(cause) = &outcome
        && !cause.certainly_not_applied()
    {
        outcome = store.commit(again).await;
    }
    match outcome {
        Outcome::Committed(position) => Ok(Some(position)),
        Outcome::Conflict(_) => Ok(None),
        Outcome::Unknown(cause) => Err(Error::internal(cause)),
    }
}

/// Commits a batch that names no precondition, so that no other writer can be in its way.
///
/// # Errors
///
/// As [`commit`].
pub(crate) async fn commit_freely(store: &Store, batch: Batch) -> Result<Position> {
    match commit(store, batch).await? {
        Some(position) => Ok(position),
        None => Err(Error::internal("a batch without preconditions conflicted")),
    }
}
