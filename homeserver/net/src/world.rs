//! The bundle of everything that a program needs and cannot compute.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::future::{Either, select};
use rand::SeedableRng;

use crate::{
    Clock, Elapsed, Http, RealOptions, Resolver, Sleep, StartError, TaskHandle, Tasks, Timestamp, real,
    tasks::{SeeThrough, run_blocking, start},
};

/// Clock, timers, tasks, randomness, DNS and outbound HTTP, as one argument. Cheap to clone.
#[derive(Clone)]
pub struct World {
    parts: Arc<Parts>,
}

/// What a [`World`] is made of, so that a test can replace one part.
#[derive(Clone)]
pub struct Parts {
    /// Clock and timers.
    pub clock: Arc<dyn Clock>,
    /// Tasks and blocking work.
    pub tasks: Arc<dyn Tasks>,
    /// Randomness.
    pub chance: Arc<dyn Chance>,
    /// DNS.
    pub resolver: Arc<dyn Resolver>,
    /// Outbound HTTP.
    pub http: Arc<dyn Http>,
}

/// A source of random bytes.
pub trait Chance: Send + Sync {
    /// Fills `bytes` with random ones, fit for keys and tokens.
    fn fill(&self, bytes: &mut [u8]);
}

/// A generator of random numbers, fit for keys; use it through `rand::RngExt`.
pub type Random = rand_chacha::ChaCha12Rng;

impl World {
    /// This machine: its clocks, its network, and the tokio runtime that this is called in.
    ///
    /// # Errors
    ///
    /// [`StartError`] where there is no runtime or no randomness, or a file named in the options cannot be used.
    pub fn real(options: RealOptions) -> Result<Self, StartError> {
        Ok(Self::from_parts(real::parts(options)?))
    }

    /// A world made of these parts.
    pub fn from_parts(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// The parts, to build a world that differs in one of them.
    pub fn parts(&self) -> Parts {
        (*self.parts).clone()
    }

    /// The time of day. It can jump; measure durations with [`World::monotonic`].
    pub fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// Time since some fixed moment before; never goes back. Meaningless in another process.
    pub fn monotonic(&self) -> Duration {
        self.parts.clock.monotonic()
    }

    /// Completes once `duration` has passed.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.parts.clock.sleep(duration)
    }

    /// Runs `future` for at most `duration`; after that it is dropped.
    ///
    /// # Errors
    ///
    /// [`Elapsed`] if it did not complete in time.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        // `select` looks at the future first: what is done at the last moment counts as done.
        match select(pin!(future), self.sleep(duration)).await {
            Either::Left((output, _)) => Ok(output),
            Either::Right(((), _)) => Err(Elapsed(duration)),
        }
    }

    /// Starts a task. It goes on when the handle is dropped; `name` says in logs and traces whose it is.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> TaskHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        start(&self.parts.tasks, name, future)
    }

    /// Runs a future in place, as `await` does, but if it is dropped before it is done, it goes on as a task. Cheaper than a task from the
    /// start; but it stands still as long as its caller is not polled.
    pub fn see_through<F>(&self, name: &'static str, future: F) -> SeeThrough<F>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        SeeThrough::new(self.parts.tasks.clone(), name, future)
    }

    /// Runs work that blocks its thread (disk, Argon2) where that holds up nobody else.
    ///
    /// A panic in `work` continues in the caller.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        run_blocking(&self.parts.tasks, work).await
    }

    /// Random bytes, fit for keys and tokens.
    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.parts.chance.fill(&mut bytes);
        bytes
    }

    /// A generator of random numbers, seeded from [`World::random_bytes`]. Keep it where many are needed.
    pub fn rng(&self) -> Random {
        Random::from_seed(self.random_bytes())
    }

    /// DNS, with this machine's hosts file.
    pub fn resolver(&self) -> &dyn Resolver {
        &*self.parts.resolver
    }

    /// The guarded outbound HTTP client.
    pub fn http(&self) -> &dyn Http {
        &*self.parts.http
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}
