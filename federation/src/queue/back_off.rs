//! When a destination that failed is tried again.

use std::time::Duration;

/// The first wait.
pub const FIRST_WAIT: Duration = Duration::from_secs(1);

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
}

impl BackOff {
    /// After one more failure, at `now`. `jitter` is 0 to 255, `asked` what the peer asked for.
    pub(super) fn after_failure(before: Option<Self>, now: Duration, jitter: u8, asked: Option<Duration>) -> Self {
        let since = before.map_or(now, |before| before.since);
        let wait = (now.saturating_sub(since) / PART_OF_OUTAGE).clamp(FIRST_WAIT, MAX_WAIT);
        // Three quarters to five quarters of it, so that those who failed together do not come back together.
        let wait = wait * (384 + u32::from(jitter)) / 512;
        let wait = wait.max(asked.unwrap_or_default().min(MAX_ASKED_WAIT)).min(MAX_WAIT);
        let tried_when_seen = before.map_or(0, |before| before.tried_when_seen + u32::from(before.is_seen));
        Self { since, last_failure: now, until: now.saturating_add(wait), tried_when_seen, is_seen: false }
    }

    /// The peer has shown itself: it is tried at once, or soon if it was tried just now.
    pub(super) fn when_seen(self, now: Duration) -> Self {
        let wait = FIRST_WAIT_WHEN_SEEN.saturating_mul(1 << self.tried_when_seen.min(16)).min(MAX_WAIT_WHEN_SEEN);
        let until = self.last_failure.saturating_add(wait).max(now).min(self.until.max(now));
        // Its outage is over, if only as far as it can see; believed once.
        let since = if self.tried_when_seen == 0 { now } else { self.since };
        Self { since, until, is_seen: true, ..self }
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

    #[test]
    fn waits_grow_with_the_outage_and_are_bounded() {
        let mut now = seconds(1000);
        let mut back_off = BackOff::after_failure(None, now, 128, None);
        let mut last = Duration::ZERO;
        for _ in 0..200 {
            let wait = back_off.until - now;
            assert!(wait >= last && wait <= MAX_WAIT, "{wait:?} after {last:?}");
            last = wait;
            now = back_off.until;
            let away = now - seconds(1000);
            assert!(wait <= (away / 4).max(FIRST_WAIT), "a peer is found soon after it is back");
            back_off = BackOff::after_failure(Some(back_off), now, 128, None);
        }
        assert_eq!(last, MAX_WAIT);
    }

    #[test]
    fn jitter_and_wishes_are_bounded() {
        for jitter in [0, 255] {
            let wait = BackOff::after_failure(None, seconds(0), jitter, None).until;
            assert!(wait >= FIRST_WAIT * 3 / 4 && wait <= FIRST_WAIT * 5 / 4);
        }
        let asked = |asked| BackOff::after_failure(None, seconds(0), 128, Some(asked)).until;
        assert_eq!(asked(seconds(30)), seconds(30));
        assert_eq!(asked(seconds(1_000_000)), MAX_ASKED_WAIT);
    }

    #[test]
    fn showing_itself_ends_the_wait_but_not_time_and_again() {
        let mut back_off = BackOff::after_failure(None, seconds(0), 128, None);
        back_off = BackOff::after_failure(Some(back_off), seconds(10_000), 128, None);
        assert!(back_off.until > seconds(11_000));
        assert_eq!(back_off.when_seen(seconds(10_100)).until, seconds(10_100));
        let mut now = seconds(10_100);
        let mut tries = 0;
        // It reaches us all the time, and we never reach it.
        while now < seconds(10_100 + 3600) {
            back_off = back_off.when_seen(now);
            if back_off.until <= now {
                tries += 1;
                back_off = BackOff::after_failure(Some(back_off), now, 128, None);
            }
            now += Duration::from_millis(100);
        }
        assert!((50..200).contains(&tries), "{tries} tries");
    }
}
