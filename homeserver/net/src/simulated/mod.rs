//! Several machines in one process, from one seed: virtual time, tasks in an order drawn from the seed, randomness, DNS, and a network
//! that can be slow, lose messages and be cut.
//!
//! A run is a function of its seed and its program, and the digest of its trace shows it: equal seeds give equal digests. That holds
//! as long as nothing in it depends on addresses in memory, hash maps' order, other threads, or macros that draw lots of their own
//! (`tokio::select!` without `biased;`, `futures::select!`).
//!
//! ```
//! use std::time::Duration;
//! let simulation = net::simulated::Simulation::new(7);
//! let host = simulation.host("alpha.example");
//! let world = host.world();
//! let slept = simulation.run(async {
//!     world.sleep(Duration::from_secs(3600)).await;
//!     world.monotonic()
//! });
//! assert_eq!(slept, Ok(Duration::from_secs(3600)));
//! ```

mod executor;
mod host;
mod http;
mod network;
mod parts;
mod trace;

use std::{sync::Arc, time::Duration};

pub use self::{
    executor::SimulationError,
    host::Host,
    http::{Certificate, PeerAddress},
    network::Network,
    trace::Digest,
};
use crate::Timestamp;
use executor::Core;

/// The time of day at which every simulation begins: 1 January 2026, 0:00 UTC.
pub const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// Several machines, their network, and their time.
///
/// Dropping it ends all of their tasks.
pub struct Simulation {
    core: Arc<Core>,
}

impl Simulation {
    /// A simulation without machines.
    pub fn new(seed: u64) -> Self {
        Self { core: Core::new(seed) }
    }

    /// The seed, to be printed with whatever fails.
    pub fn seed(&self) -> u64 {
        self.core.seed
    }

    /// The machine of that name, with an address that DNS gives for its name; it is made when it is first asked for.
    pub fn host(&self, name: &str) -> Host {
        Host::new(self.core.clone(), name)
    }

    /// The network between the machines, and DNS.
    pub fn network(&self) -> Network {
        Network::new(self.core.clone())
    }

    /// Runs all machines until `main` completes. What they were doing goes on in the next run.
    ///
    /// # Errors
    ///
    /// [`SimulationError`] if a task panics, if nothing can ever happen again, or if it takes more steps than [`Self::limit_steps`].
    pub fn run<F: Future>(&self, main: F) -> Result<F::Output, SimulationError> {
        self.core.run(main)
    }

    /// Runs all machines for that long.
    ///
    /// # Errors
    ///
    /// As for [`Self::run`].
    pub fn run_for(&self, duration: Duration) -> Result<(), SimulationError> {
        let sleep = parts::sleep(self.core.clone(), duration);
        self.run(sleep)
    }

    /// Sets after how many steps a run is taken to be one that never ends; ten million if not set.
    pub fn limit_steps(&self, steps: u64) {
        self.core.lock().step_limit = steps;
    }

    /// How much time has passed.
    pub fn elapsed(&self) -> Duration {
        self.core.lock().now
    }

    /// Writes a line of the test's own into the trace.
    pub fn note(&self, text: &str) {
        self.core.lock().record("note", text);
    }

    /// The digest of everything that has happened: each step of each task, each message, lookup and fault, at its time.
    pub fn digest(&self) -> Digest {
        self.core.lock().trace.digest()
    }

    /// The latest lines of the trace (without the steps of tasks), oldest first.
    pub fn trace(&self) -> Vec<String> {
        self.core.lock().trace.lines()
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation's seed was {}", self.seed());
        }
        // Tasks hold worlds, and those hold the core that holds the tasks.
        self.core.clear();
    }
}
