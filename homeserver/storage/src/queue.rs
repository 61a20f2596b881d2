//! The batches that wait for the committer.

use std::{collections::VecDeque, time::Duration};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::{Batch, Class, Outcome, limits};

/// A batch whose writer waits for the outcome.
pub(crate) struct Pending {
    pub(crate) batch: Batch,
    pub(crate) bytes: usize,
    pub(crate) answer: oneshot::Sender<Outcome>,
}

/// The queue. A committer that is a thread waits in [`Queue::wait`]; one that is a task, in [`Queue::ready`].
pub(crate) struct Queue {
    state: Mutex<State>,
    thread: Condvar,
    task: Notify,
    /// Room in the queue, in units of [`UNIT`] bytes.
    room: Semaphore,
}

#[derive(Default)]
struct State {
    pending: VecDeque<Pending>,
    closed: bool,
}

const UNIT: usize = 1024;

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            thread: Condvar::new(),
            task: Notify::new(),
            room: Semaphore::new(limits::MAX_QUEUED_BYTES / UNIT),
        }
    }

    /// Adds a batch, once there is room; gives it back if the queue is closed.
    pub(crate) async fn push(&self, pending: Pending) -> Result<(), Pending> {
        // At once where there is room, so that batches queue in the order in which their commits were first polled.
        match self.room.try_acquire_many(units(pending.bytes)) {
            Ok(permit) => permit.forget(),
            Err(_) => match self.room.acquire_many(units(pending.bytes)).await {
                Ok(permit) => permit.forget(),
                Err(_) => return Err(pending),
            },
        }
        {
            let mut state = self.state.lock();
            if state.closed {
                return Err(pending);
            }
            state.pending.push_back(pending);
        }
        self.thread.notify_one();
        self.task.notify_one();
        Ok(())
    }

    /// Moves the batches of the next group into `group`. Logged batches at the front make a group of their own: they do not wait
    /// for the sync of those behind them.
    pub(crate) fn take(&self, group: &mut Vec<Pending>) {
        let mut bytes = 0;
        let mut freed = 0;
        let mut state = self.state.lock();
        let logged = state.pending.front().is_some_and(|first| first.batch.class == Class::Logged);
        while let Some(next) = state.pending.front()
            && (bytes == 0 || bytes + next.bytes <= limits::MAX_GROUP_BYTES)
            && group.len() < limits::MAX_GROUP_BATCHES
            && !(logged && next.batch.class == Class::Synced)
        {
            bytes += next.bytes;
            freed += units(next.bytes) as usize;
            group.extend(state.pending.pop_front());
        }
        drop(state);
        self.room.add_permits(freed);
    }

    /// Lets nobody in any more; those inside can still be taken.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.room.close();
        self.thread.notify_all();
        self.task.notify_one();
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().pending.is_empty()
    }

    /// Blocks the thread until a batch waits, the queue is closed, or the time is over.
    pub(crate) fn wait(&self, at_most: Option<Duration>) {
        let mut state = self.state.lock();
        while state.pending.is_empty() && !state.closed {
            match at_most {
                None => self.thread.wait(&mut state),
                Some(time) => {
                    if self.thread.wait_for(&mut state, time).timed_out() {
                        return;
                    }
                }
            }
        }
    }

    /// Completes when something was added or the queue was closed since the last time.
    pub(crate) async fn ready(&self) {
        self.task.notified().await;
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes / UNIT + 1).expect("a batch is at most a megabyte")
}
