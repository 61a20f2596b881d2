//! Rate limits: how often one address, account or user may do a thing.

use crate::config::{Rate, Rates};
use crate::{Error, Result};
use lru::LruCache;
use net::World;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::time::Duration;

/// A rate: `burst` at once, then one more every `refill`.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// What is limited, as it stands in the error: "Too many {what}; …".
    pub what: &'static str,
    /// How many may come at once after a pause.
    pub burst: u32,
    /// How long until one more is allowed.
    pub refill: Duration,
}

/// Login attempts from one address.
pub const LOGIN_BY_ADDRESS: Limit =
    Limit { what: "login attempts from this address", burst: 30, refill: Duration::from_secs(2) };
/// Failed proofs of one account's password, whoever makes them.
pub const PASSWORD_BY_ACCOUNT: Limit =
    Limit { what: "wrong passwords for this account", burst: 10, refill: Duration::from_secs(20) };
/// Guesses at the registration token, or at which names are free, from one address.
pub const GUESS_BY_ADDRESS: Limit =
    Limit { what: "such questions from this address", burst: 30, refill: Duration::from_secs(2) };
/// Refreshes of access tokens from one address.
pub const REFRESH_BY_ADDRESS: Limit =
    Limit { what: "token refreshes from this address", burst: 60, refill: Duration::from_secs(1) };
/// Searches of one user in the user directory.
pub const SEARCH_BY_USER: Limit = Limit { what: "searches", burst: 30, refill: Duration::from_millis(500) };
/// Changes of one user's profile, each of which becomes an event in every room of theirs.
pub const PROFILE_BY_USER: Limit = Limit { what: "profile changes", burst: 20, refill: Duration::from_secs(2) };

/// OpenID tokens of one user.
pub const OPENID_BY_USER: Limit = Limit { what: "OpenID tokens", burst: 60, refill: Duration::from_secs(1) };
/// Pages of notifications of one user, for each of which many events are judged.
pub const NOTIFICATIONS_BY_USER: Limit =
    Limit { what: "questions for notifications", burst: 30, refill: Duration::from_secs(1) };
/// Summaries of rooms for one user, which may ask other servers.
pub const SUMMARIES_BY_USER: Limit =
    Limit { what: "questions for rooms", burst: 60, refill: Duration::from_millis(500) };

/// The limits that the operator sets.
#[derive(Debug, Clone, Copy)]
pub struct Configured {
    /// Events that one user sends.
    pub sending: Limit,
    /// Joins and knocks of one user.
    pub joins: Limit,
    /// Rooms that one user makes.
    pub rooms: Limit,
    /// Invites that one user sends.
    pub invites: Limit,
    /// New accounts from one address.
    pub registrations: Limit,
}

impl Configured {
    fn new(rates: &Rates) -> Self {
        Self {
            sending: Limit::of("events", rates.sending),
            joins: Limit::of("joins", rates.joins),
            rooms: Limit::of("new rooms", rates.rooms),
            invites: Limit::of("invites", rates.invites),
            registrations: Limit::of("registrations from this address", rates.registrations),
        }
    }
}

impl Limit {
    fn of(what: &'static str, Rate { burst, per_minute }: Rate) -> Self {
        Self { what, burst, refill: Duration::from_secs(60) / per_minute.max(1) }
    }
}

/// What counts as one address: of IPv6 a network of 64 bits, which is what a single customer gets at least.
#[must_use]
pub fn of_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            format!("{}/64", std::net::Ipv6Addr::from_bits(network))
        }
    }
}

/// How many buckets are remembered; beyond that the one unused for longest starts afresh.
const MAX_BUCKETS: usize = 65_536;
/// Buckets are spread over this many locks.
const SHARDS: usize = 16;

/// The buckets of every limit. In memory: a restart forgives.
pub struct Limits {
    /// Those that the operator sets.
    pub configured: Configured,
    enabled: bool,
    world: World,
    shards: Vec<Mutex<LruCache<[u8; 16], Duration>>>,
}

impl Limits {
    /// Empty buckets; when not `enabled`, nothing is ever refused.
    #[must_use]
    pub fn new(world: World, enabled: bool, rates: &Rates) -> Self {
        let configured = Configured::new(rates);
        // `unbounded` because `new` would allocate for the most there can be; `take` keeps the bound.
        Self { configured, enabled, world, shards: (0..SHARDS).map(|_| Mutex::new(LruCache::unbounded())).collect() }
    }

    /// Counts one more for `key` (an address, a user id).
    ///
    /// # Errors
    ///
    /// 429 `M_LIMIT_EXCEEDED` with `retry_after_ms`, if that is too many.
    pub fn take(&self, limit: &Limit, key: &str) -> Result<()> {
        self.take_many(limit, key, 1)
    }

    /// Counts so many more at once: all of them or none. More than fit into a burst count as a whole burst.
    ///
    /// # Errors
    ///
    /// As [`Limits::take`].
    pub fn take_many(&self, limit: &Limit, key: &str, count: usize) -> Result<()> {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(limit.burst);
        if !self.enabled || count == 0 {
            return Ok(());
        }
        // The generic cell rate algorithm: a bucket is the moment at which it will be full again.
        let now = self.world.monotonic();
        let slack = limit.refill * (limit.burst - count);
        let bucket = bucket(limit, key);
        let mut shard = self.shards[usize::from(bucket[0]) % SHARDS].lock();
        let full_at = shard.get(&bucket).copied().unwrap_or(now).max(now);
        let ahead = full_at.saturating_sub(now);
        if ahead > slack {
            // Rounded up: whoever waits that long gets through.
            let wait = u64::try_from((ahead - slack).as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
            return Err(Error::limit_exceeded(format!("Too many {}; try again in {wait} ms.", limit.what), wait));
        }
        shard.put(bucket, full_at + limit.refill * count);
        if shard.len() > MAX_BUCKETS / SHARDS {
            shard.pop_lru();
        }
        Ok(())
    }

    /// Takes back one [`Limits::take`], because it turned out not to count.
    pub fn give_back(&self, limit: &Limit, key: &str) {
        if !self.enabled {
            return;
        }
        let bucket = bucket(limit, key);
        if let Some(full_at) = self.shards[usize::from(bucket[0]) % SHARDS].lock().get_mut(&bucket) {
            *full_at = full_at.saturating_sub(limit.refill);
        }
    }
}

fn bucket(limit: &Limit, key: &str) -> [u8; 16] {
    let digest = Sha256::new().chain_update(limit.what).chain_update([0]).chain_update(key).finalize();
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    const LIMIT: Limit = Limit { what: "tests", burst: 3, refill: Duration::from_secs(10) };

    fn limits(enabled: bool) -> (net::simulated::Simulation, Limits) {
        let simulation = net::simulated::Simulation::new(1);
        let world = simulation.host("server").world();
        (simulation, Limits::new(world, enabled, &Rates::default()))
    }

    #[test]
    fn an_address_is_what_one_customer_has() {
        let of = |text: &str| of_address(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::4"));
        assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn a_burst_passes_and_the_next_is_told_when_to_come_back() {
        let (_simulation, limits) = limits(true);
        for _ in 0..3 {
            limits.take(&LIMIT, "a").unwrap();
        }
        let error = limits.take(&LIMIT, "a").unwrap_err();
        assert_eq!((error.status, error.errcode.as_ref()), (429, "M_LIMIT_EXCEEDED"));
        assert_eq!(error.extra.unwrap()["retry_after_ms"], 10_000);
        limits.take(&LIMIT, "b").unwrap();
        limits.give_back(&LIMIT, "a");
        limits.take(&LIMIT, "a").unwrap();
        limits.take(&LIMIT, "a").unwrap_err();
    }

    #[test]
    fn many_at_once_are_counted_each() {
        let (_simulation, limits) = limits(true);
        limits.take_many(&LIMIT, "a", 2).unwrap();
        let error = limits.take_many(&LIMIT, "a", 2).unwrap_err();
        assert_eq!(error.extra.unwrap()["retry_after_ms"], 10_000);
        limits.take(&LIMIT, "a").unwrap();
        limits.take(&LIMIT, "a").unwrap_err();
        // More than ever fit at once pass after a pause, and use everything up.
        limits.take_many(&LIMIT, "b", 100).unwrap();
        limits.take(&LIMIT, "b").unwrap_err();
        limits.take_many(&LIMIT, "b", 0).unwrap();
    }

    #[test]
    fn limits_that_are_off_refuse_nothing() {
        let (_simulation, limits) = limits(false);
        for _ in 0..100 {
            limits.take(&LIMIT, "a").unwrap();
        }
    }
}
