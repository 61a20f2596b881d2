//! This machine's clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;

use crate::{Clock, Sleep, Timestamp};

/// The operating system's clocks, and tokio's timers.
pub(crate) struct System {
    runtime: Handle,
    start: Instant,
}

impl System {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { runtime, start: Instant::now() }
    }
}

impl Clock for System {
    fn now(&self) -> Timestamp {
        // A clock before 1970 is a clock that has not been set; the epoch is as good as any.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::EPOCH.plus(since_epoch)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        // Timers can then be made on any thread, not only on the runtime's.
        let _entered = self.runtime.enter();
        Box::pin(tokio::time::sleep(duration))
    }
}
