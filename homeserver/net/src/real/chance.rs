//! Randomness from the operating system.

use crate::{Chance, StartError};

/// The operating system's generator.
pub(crate) struct System(());

impl System {
    /// Checks once that the operating system gives random bytes.
    pub(crate) fn new() -> Result<Self, StartError> {
        getrandom::fill(&mut [0; 32]).map_err(StartError::NoRandomness)?;
        Ok(Self(()))
    }
}

impl Chance for System {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the system call worked at start-up, and once seeded it cannot fail");
    }
}
