//! Tasks on tokio's runtime.

use futures::{FutureExt, future::BoxFuture};
use tokio::runtime::Handle;

use crate::Tasks;

/// The tokio runtime that the world was made in.
pub(crate) struct Runtime(Handle);

impl Runtime {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self(runtime)
    }
}

impl Tasks for Runtime {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let running = self.0.spawn_blocking(work);
        // A panic in the work has been caught inside of it; what is left is a runtime that is shutting down.
        async move { drop(running.await) }.boxed()
    }

    fn panicked(&self, name: &'static str, message: &str) {
        tracing::error!(task = name, message, "a task panicked; the rest goes on");
    }
}
