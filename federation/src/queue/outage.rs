//! Noticing that we ourselves were cut off: everyone fails at once, then someone answers again.

use std::{collections::BTreeSet, time::Duration};

/// An outage shorter than this is none.
const MIN_OUTAGE: Duration = Duration::from_secs(20);

/// How long after everyone was contacted that can happen again.
const MIN_BETWEEN: Duration = Duration::from_secs(300);

/// So many different servers failing in a row are an outage of ours, however many there are.
const ENOUGH_FAILURES: usize = 8;

/// Who has failed since anyone was reached.
#[derive(Debug, Default)]
pub(super) struct Outage {
    peers: usize,
    failed: BTreeSet<String>,
    last_reached: Duration,
    last_contact: Duration,
}

impl Outage {
    /// How many servers share rooms with us.
    pub(super) fn set_peers(&mut self, peers: usize) {
        self.peers = peers;
    }

    /// This server could not be reached.
    pub(super) fn failed(&mut self, server_name: &str) {
        if self.failed.len() < ENOUGH_FAILURES {
            self.failed.insert(server_name.to_owned());
        }
    }

    /// Some server was reached, or reached us. Gives whether that ends an outage of ours, so that all who wait for us should hear of it.
    pub(super) fn reached(&mut self, now: Duration) -> bool {
        let was_cut_off = self.failed.len() >= self.peers.div_ceil(2).clamp(1, ENOUGH_FAILURES)
            && now.saturating_sub(self.last_reached) >= MIN_OUTAGE
            && now.saturating_sub(self.last_contact) >= MIN_BETWEEN;
        self.failed.clear();
        self.last_reached = now;
        if was_cut_off {
            self.last_contact = now;
        }
        was_cut_off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_when_most_peers_fail_and_none_answers() {
        let seconds = Duration::from_secs;
        let mut outage = Outage::default();
        outage.set_peers(4);
        assert!(!outage.reached(seconds(1000)));
        outage.failed("a");
        assert!(!outage.reached(seconds(1100)), "one of four");
        outage.failed("a");
        outage.failed("b");
        assert!(!outage.reached(seconds(1110)), "for ten seconds");
        outage.failed("a");
        outage.failed("b");
        assert!(outage.reached(seconds(1200)));
        assert!(!outage.reached(seconds(1201)));
        outage.failed("a");
        outage.failed("b");
        assert!(!outage.reached(seconds(1300)), "again so soon");
    }
}
