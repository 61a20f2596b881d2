//! The servers, and what lies between them.

use crate::server::{Failure, Server};
use net::simulated::{Digest, Host, Simulation, SimulationError};
use std::time::Duration;

/// Several servers and the network between them.
///
/// They are named `s0.example`, `s1.example` and so on. None runs before [`Network::start_all`] or [`Server::start`].
pub struct Network {
    simulation: Simulation,
    servers: Vec<Server>,
}

impl Network {
    /// A network of `count` servers with empty disks, in which everything that is left to chance comes from `seed`.
    #[must_use]
    pub fn new(seed: u64, count: usize) -> Self {
        let simulation = Simulation::new(seed);
        let servers = (0..count).map(|index| Server::new(simulation.host(&format!("s{index}.example")))).collect();
        Self { simulation, servers }
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.simulation.seed()
    }

    /// The server of that index.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn server(&self, index: usize) -> &Server {
        &self.servers[index]
    }

    /// All servers.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// A machine on the network, beside the servers.
    pub(crate) fn host(&self, name: &str) -> Host {
        self.simulation.host(name)
    }

    /// Starts all servers.
    ///
    /// # Errors
    /// If one cannot read its disk.
    pub async fn start_all(&self) -> Result<(), Failure> {
        for server in &self.servers {
            server.start().await?;
        }
        Ok(())
    }

    /// Runs all servers until `main` completes.
    ///
    /// # Errors
    /// If a task of a server panics, or if nothing can ever happen again.
    pub fn run<F: Future>(&self, main: F) -> Result<F::Output, SimulationError> {
        self.simulation.run(main)
    }

    /// Lets virtual time pass, from within [`Network::run`].
    pub async fn wait(&self, duration: Duration) {
        // A machine of its own, which never crashes.
        self.simulation.host("clock.test").world().sleep(duration).await;
    }

    /// How much virtual time has passed.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.simulation.elapsed()
    }

    /// Lets nothing through between two servers any more.
    pub fn cut(&self, one: usize, other: usize) {
        self.simulation.network().cut(self.servers[one].name(), self.servers[other].name());
    }

    /// Lets everything through between two servers again.
    pub fn heal(&self, one: usize, other: usize) {
        self.simulation.network().heal(self.servers[one].name(), self.servers[other].name());
    }

    /// Lets everything through everywhere again, and lets no message get lost.
    pub fn heal_all(&self) {
        self.simulation.network().heal_all();
    }

    /// Sets the share of messages between servers, from 0 to 1, that are lost.
    pub fn set_loss(&self, share: f64) {
        self.simulation.network().set_loss(share);
    }

    /// The digest of everything that has happened.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.simulation.digest()
    }

    /// The latest lines of the trace, oldest first.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.simulation.trace()
    }
}
