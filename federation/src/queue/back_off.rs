//! When a destination that failed is tried again.

use std::time::Duration;

/// The first wait.
pub const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait before a peer is tried again that took a request and did not answer in time, or says that it is busy: it is there, and
/// what waits for it should not wait much longer than it takes.
pub const MAX_WAIT_WHEN_BUSY: Duration = Duration::from_secs(15);

/// For how long a peer is taken to be busy. After that it is treated like one that is away.
const BUSY_FOR: Duration = Duration::from_secs(60 * 60);

/// The longest wait.
pub const MAX_WAIT: Duration = Duration::from_secs(60 * 60);

/// The longest wait that a peer may ask for (`retry_after_ms`).
pub const MAX_ASKED_WAIT: Duration = Duration::from_secs(10 * 60);

/// A wait is this part of the outage so far: waits grow by a fifth each time, and a peer that comes back is found within a fifth of the
/// time that it was away.
const PART_OF_OUTAGE: u32 = 5;

/// However often a peer shows itself, it is tried no sooner than this after the last failure; doubles each time that this leads to
/// nothing.
const FIRST_WAIT_WHEN_SEEN: Duration = Duration::from_millis(500);

/// The longest that such a wait grows.
const MAX_WAIT_WHEN_SEEN: Duration = Duration::from_secs(60);

/// How long a failure is remembered when nothing waits.
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);

/// A destination that failed. Times are on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct BackOff {
    /// When the outage began.
    since: Duration,
    /// When it failed last.
    last_failure: Duration,
    /// Not tried before this.
    pub(super) until: Duration,
    /// How often it was tried because it had shown itself, in vain.
    tried_when_seen: u32,
    /// Whether it has shown itself since the last failure.
    is_seen: bool,
    /// Whether it was there the last time, and busy.
    pub(super) is_busy: bool,
}

/// How a destination failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It cannot be reached, or does not work.
    Away,
    /// It is there: it took the request and did not answer in time, or says that it has too much to do.
    Busy,
}

impl BackOff {
    /// After one more failure, at `now`. `jitter` is 0 to 255, `asked` what the peer asked for.
    pub(super) fn after_failure(
        before: Option<Self>,
        now: Duration,
        jitter: u8,
        asked: Option<Duration>,
        failure: Failure,
    ) -> Self {
        let since = before.map_or(now, |before| before.since);
        let outage = now.saturating_sub(since);
        let is_busy = failure == Failure::Busy && outage < BUSY_FOR;
        let longest = if is_busy { MAX_WAIT_WHEN_BUSY } else { MAX_WAIT };
        let wait = (outage / PART_OF_OUTAGE).clamp(FIRST_WAIT, longest);
        // Three quarters to five quarters of it, so that those who failed together do not come back together.
        let wait = wait * (384 + u32::from(jitter)) / 512;
        let wait = wait.max(asked.unwrap_or_default().min(MAX_ASKED_WAIT)).min(MAX_WAIT);
        let tried_when_seen = before.map_or(0, |before| before.tried_when_seen + u32::from(before.is_seen));
        Self { since, last_failure: now, until: now.saturating_add(wait), tried_when_seen, is_seen: false, is_busy }
    }

    /// The peer has shown itself: it is tried at once, or soon if it was tried just now.
    pub(super) fn when_seen(self, now: Duration) -> Self {
        let wait = FIRST_WAIT_WHEN_SEEN.saturating_mul(1 << self.tried_when_seen.min(16)).min(MAX_WAIT_WHEN_SEEN);
        let until = self.last_failure.saturating_add(wait).max(now).min(self.until.max(now));
        // Its outage is over, if only as far as it can see; believed once.
        let since = if self.tried_when_seen == 0 { now } else { self.since };
        Self { since, until, is_seen: true, ..self }
    }

    /// For how long it has failed.
    pub(super) fn outage(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }

    /// When this can be forgotten, if nothing waits for the destination.
    pub(super) fn forgotten_at(&self) -> Duration {
        self.last_failure.saturating_add(REMEMBERED_FOR).max(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn when_away(before: Option<BackOff>, now: Duration) -> BackOff {
        BackOff::after_failure(before, now, 128, None, Failure::Away)
    }

    #[test]
    fn who_is_busy_is_tried_again_soon_but_not_for_ever() {
        let mut now = seconds(1000);
        let mut back_off = None;
        let mut waits = Vec::new();
        while now < seconds(1000 + 5 * 3600) {
            let next = BackOff::after_failure(back_off, now, 128, None, Failure::Busy);
            waits.push((now - seconds(1000), next.until - now));
            // Each try takes a minute to fail.
            now = next.until + seconds(60);
            back_off = Some(next);
        }
        assert!(waits.iter().all(|(after, wait)| *after >= BUSY_FOR || *wait <= MAX_WAIT_WHEN_BUSY), "{waits:?}");
        assert!(waits.iter().any(|(_, wait)| *wait > MAX_WAIT_WHEN_BUSY), "{waits:?}");
    }

    #[test]
    fn waits_grow_with_the_outage_and_are_bounded() {
        let mut now = seconds(1000);
        let mut back_off = when_away(None, now);
        let mut last = Duration::ZERO;
        for _ in 0..200 {
            let wait = back_off.until - now;
            assert!(wait >= last && wait <= MAX_WAIT, "{wait:?} after {last:?}");
            last = wait;
            now = back_off.until;
            let away = now - seconds(1000);
            assert!(wait <= (away / 4).max(FIRST_WAIT), "a peer is found soon after it is back");
            back_off = when_away(Some(back_off), now);
        }
        assert_eq!(last, MAX_WAIT);
    }

    #[test]
    fn jitter_and_wishes_are_bounded() {
        for jitter in [0, 255] {
            let wait = BackOff::after_failure(None, seconds(0), jitter, None, Failure::Away).until;
            assert!(wait >= FIRST_WAIT * 3 / 4 && wait <= FIRST_WAIT * 5 / 4);
        }
        let asked = |asked| BackOff::after_failure(None, seconds(0), 128, Some(asked), Failure::Away).until;
        assert_eq!(asked(seconds(30)), seconds(30));
        assert_eq!(asked(seconds(1_000_000)), MAX_ASKED_WAIT);
    }

    #[test]
    fn showing_itself_ends_the_wait_but_not_time_and_again() {
        let mut back_off = when_away(None, seconds(0));
        back_off = when_away(Some(back_off), seconds(10_000));
        assert!(back_off.until > seconds(11_000));
        assert_eq!(back_off.when_seen(seconds(10_100)).until, seconds(10_100));
        let mut now = seconds(10_100);
        let mut tries = 0;
        // It reaches us all the time, and we never reach it.
        while now < seconds(10_100 + 3600) {
            back_off = back_off.when_seen(now);
            if back_off.until <= now {
                tries += 1;
                back_off = when_away(Some(back_off), now);
            }
            now += Duration::from_millis(100);
        }
        assert!((50..200).contains(&tries), "{tries} tries");
    }
}
