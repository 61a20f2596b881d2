//! What a writer does that meets a sweep: it waits, and tries again.

use crate::error::{Error, Result};
use net::World;
use std::time::Duration;

/// The first wait; each is twice as long as the one before, up to [`LAST`].
const FIRST: Duration = Duration::from_millis(50);
/// The longest wait between two tries.
const LAST: Duration = Duration::from_secs(1);
/// For how long a writer waits in all, so that a client has its answer before it gives up by itself.
const MAX_WAIT: Duration = Duration::from_secs(15);
/// What a writer is told that has waited in vain.
const SENTENCE: &str = "What this builds on is being deleted at this moment; try again.";

/// What a writer meets that builds on what is just being swept, purged or removed.
pub(super) fn in_the_way() -> Error {
    Error::new(503, "M_UNKNOWN", SENTENCE).with("retry_after_ms", LAST.as_millis() as u64)
}

/// How long one writer has waited for sweeps.
pub(crate) struct Patience {
    next: Duration,
    waited: Duration,
}

impl Patience {
    /// A writer that has not waited yet.
    pub(crate) fn new() -> Self {
        Self { next: FIRST, waited: Duration::ZERO }
    }

    /// Waits, if that may help against `error`.
    ///
    /// # Errors
    /// `error` itself, where a sweep is not what was in the way, or has been for long.
    pub(crate) async fn wait(&mut self, world: &World, error: Error) -> Result<()> {
        if error.status != 503 || error.message != SENTENCE || self.waited >= MAX_WAIT {
            return Err(error);
        }
        world.sleep(self.next).await;
        self.waited += self.next;
        self.next = (self.next * 2).min(LAST);
        Ok(())
    }
}
