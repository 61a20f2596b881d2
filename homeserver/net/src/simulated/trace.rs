//! What happened, in order.

use std::{collections::VecDeque, fmt, time::Duration};

use sha2::{Digest as _, Sha256};

/// How many lines are kept to be read; the digest covers all.
const MAX_LINES: usize = 20_000;

/// A digest of everything that happened in a simulation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

#[derive(Default)]
pub(crate) struct Trace {
    hasher: Sha256,
    lines: VecDeque<String>,
}

impl Trace {
    /// Adds something to be read.
    pub(crate) fn record(&mut self, now: Duration, kind: &str, detail: &str) {
        self.hash(now, kind, detail.as_bytes());
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{:>12.6} {kind} {detail}", now.as_secs_f64()));
    }

    /// Adds something that is too frequent to be read.
    pub(crate) fn step(&mut self, now: Duration, task: u64) {
        self.hash(now, "step", &task.to_be_bytes());
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest(self.hasher.clone().finalize().into())
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }

    fn hash(&mut self, now: Duration, kind: &str, detail: &[u8]) {
        self.hasher.update(now.as_nanos().to_be_bytes());
        for part in [kind.as_bytes(), detail] {
            self.hasher.update((part.len() as u64).to_be_bytes());
            self.hasher.update(part);
        }
    }
}

/// The digest of some bytes, short enough for a line.
pub(crate) fn short(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}
