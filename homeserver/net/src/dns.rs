//! Looking names up.

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;

/// What turns names into addresses.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// All addresses of a host name (CNAME, AAAA and A records, the machine's hosts file first), in the order in which to try
    /// them. At least one.
    ///
    /// # Errors
    ///
    /// [`LookupError`]; [`LookupError::is_absent`] tells "there are none" from "nobody could say".
    async fn lookup_ip(&self, name: &str) -> Result<Answer<IpAddr>, LookupError>;

    /// The SRV records of a service name such as `_matrix-fed._tcp.example.org`, in the order in which to try them (RFC 2782:
    /// by priority, then drawn by weight). At least one.
    ///
    /// # Errors
    ///
    /// [`LookupError`]; [`LookupError::is_absent`] tells "there are none" from "nobody could say".
    async fn lookup_srv(&self, name: &str) -> Result<Answer<Srv>, LookupError>;
}

/// What a lookup found, and how long that may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// What was found; never empty.
    pub records: Vec<T>,
    /// How long this may be cached: what is left of the records' time to live.
    pub valid_for: Duration,
}

/// One SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// The host to contact, without a trailing dot.
    pub target: String,
    /// Its port.
    pub port: u16,
    /// Lower is tried first.
    pub priority: u16,
    /// Share of the traffic among records of one priority.
    pub weight: u16,
}

/// Why a lookup gave no records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// DNS answered that there is none.
    #[error("DNS has no {kind} record for {name}; if it should, check the name and its zone")]
    Absent {
        /// The name asked for.
        name: String,
        /// The kind of record asked for.
        kind: &'static str,
        /// How long this may be cached.
        valid_for: Duration,
    },
    /// No DNS server gave an answer.
    #[error("cannot look up {kind} records for {name}: {detail}; check this machine's DNS servers (/etc/resolv.conf)")]
    Failed {
        /// The name asked for.
        name: String,
        /// The kind of record asked for.
        kind: &'static str,
        /// What went wrong.
        detail: String,
    },
    /// The text is not a name that DNS could hold.
    #[error("{name:?} cannot be a DNS name: {detail}")]
    Invalid {
        /// The text asked for.
        name: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl LookupError {
    /// Whether it is known that there is no such record, rather than that the lookup failed.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }
}

/// Puts SRV records into the order of RFC 2782: by priority, and within one priority drawn by weight.
///
/// `draw(n)` gives a number in `0..=n`.
pub(crate) fn order_srv(mut records: Vec<Srv>, mut draw: impl FnMut(u64) -> u64) -> Vec<Srv> {
    // Records of weight 0 go first, so that they are drawn rarely but not never.
    records.sort_by(|a, b| (a.priority, a.weight, &a.target, a.port).cmp(&(b.priority, b.weight, &b.target, b.port)));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|record| record.priority) {
        let group = records.iter().take_while(|record| record.priority == priority);
        let mut drawn = draw(group.map(|record| u64::from(record.weight)).sum());
        let chosen = records
            .iter()
            .position(|record| {
                let weight = u64::from(record.weight);
                let hit = drawn <= weight;
                drawn = drawn.saturating_sub(weight);
                hit
            })
            .unwrap_or(0);
        ordered.push(records.remove(chosen));
    }
    ordered
}
