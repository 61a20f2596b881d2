//! Tasks and blocking work.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::{
    FutureExt,
    channel::oneshot,
    future::{AbortHandle, Abortable, BoxFuture},
};

/// What runs tasks beside each other.
pub trait Tasks: Send + Sync {
    /// Runs the future until it completes.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);

    /// Runs work that blocks its thread (disk, Argon2) where that holds up nobody else. The future completes when the work is
    /// done; if the program is ending, the work may be skipped and the future never completes.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;

    /// A task or blocking work panicked; the rest goes on.
    fn panicked(&self, name: &'static str, message: &str);
}

/// A running task. Dropping the handle leaves the task running; awaiting it gives what the task returned.
#[derive(Debug)]
pub struct TaskHandle<T> {
    name: &'static str,
    abort: AbortHandle,
    finished: Arc<AtomicBool>,
    result: oneshot::Receiver<Result<T, TaskError>>,
}

/// Why a task gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// [`TaskHandle::abort`] stopped it, or the program (in a simulation: its server) ended.
    #[error("the task `{0}` was stopped before it was done")]
    Aborted(&'static str),
    /// It panicked; the message has been logged.
    #[error("the task `{0}` panicked: {1}")]
    Panicked(&'static str, String),
}

impl<T> TaskHandle<T> {
    /// Stops the task at its next await point. Nothing happens if it is already done.
    pub fn abort(&self) {
        self.abort.abort();
    }

    /// A handle of its own for [`TaskHandle::abort`], for whoever does not await the result.
    pub fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }

    /// Whether the task has been stopped or has returned.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Waits for the task and gives what it returned.
    pub async fn join(self) -> Result<T, TaskError> {
        self.await
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let name = self.name;
        Pin::new(&mut self.result).poll(cx).map(|answer| answer.unwrap_or(Err(TaskError::Aborted(name))))
    }
}

/// Starts `future` on `tasks`, with a handle to its result.
pub(crate) fn start<F>(tasks: &Arc<dyn Tasks>, name: &'static str, future: F) -> TaskHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (abort, registration) = AbortHandle::new_pair();
    let (sender, result) = oneshot::channel();
    let reporter = tasks.clone();
    let finished = Arc::new(AtomicBool::new(false));
    let finishing = finished.clone();
    // The panic is caught outside of the abortable part, so that a panic while dropping an aborted future is caught too.
    let guarded = AssertUnwindSafe(Abortable::new(future, registration)).catch_unwind();
    let task = async move {
        let outcome = match guarded.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(TaskError::Aborted(name)),
            Err(panic) => {
                let message = panic_message(&*panic);
                reporter.panicked(name, &message);
                Err(TaskError::Panicked(name, message))
            }
        };
        finishing.store(true, Ordering::Release);
        // Nobody may be waiting for the result any more.
        let _ = sender.send(outcome);
    };
    tasks.spawn(name, task.boxed());
    TaskHandle { name, abort, finished, result }
}

/// A future that is run in place, and as a task if its caller drops it ([`crate::World::see_through`]).
pub struct SeeThrough<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tasks: Arc<dyn Tasks>,
    name: &'static str,
    /// Nothing once it is done, and while it runs, lest one that has panicked is run again.
    future: Option<Pin<Box<F>>>,
}

impl<F> SeeThrough<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    pub(crate) fn new(tasks: Arc<dyn Tasks>, name: &'static str, future: F) -> Self {
        Self { tasks, name, future: Some(Box::pin(future)) }
    }
}

impl<F> Future for SeeThrough<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Polled after it was done, which nobody may do: it never completes.
        let Some(mut future) = self.future.take() else { return Poll::Pending };
        let result = future.as_mut().poll(cx);
        if result.is_pending() {
            self.future = Some(future);
        }
        result
    }
}

impl<F> Drop for SeeThrough<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            start(&self.tasks, self.name, future);
        }
    }
}

/// Runs `work` where it may block, and gives its result.
///
/// A panic in `work` continues in the caller, as if it had been called in place.
pub(crate) async fn run_blocking<T: Send + 'static>(
    tasks: &Arc<dyn Tasks>,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (sender, result) = oneshot::channel();
    let done = tasks.blocking(Box::new(move || {
        // The caller may have gone; then nobody wants the result.
        let _ = sender.send(std::panic::catch_unwind(AssertUnwindSafe(work)));
    }));
    done.await;
    match result.await {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        // The work was dropped unstarted: the runtime is shutting down and will drop this task as well.
        Err(oneshot::Canceled) => std::future::pending().await,
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "(a value that is not text)".to_owned()
    }
}
