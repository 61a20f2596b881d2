//! DNS records, links between machines, and what listens where.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use rand::RngExt;

use super::{
    executor::{Core, derive},
    http::Listener,
};
use crate::{Random, Srv};

/// How long a message takes on its way, if not set.
const DEFAULT_LATENCY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(50);

/// The network between the machines of a simulation, and DNS. Cheap to clone.
#[derive(Clone)]
pub struct Network {
    core: Arc<Core>,
}

pub(crate) struct NetworkState {
    pub(crate) addresses: BTreeMap<String, Vec<IpAddr>>,
    pub(crate) services: BTreeMap<String, Vec<Srv>>,
    pub(crate) dns_fails: bool,
    pub(crate) owners: BTreeMap<IpAddr, String>,
    pub(crate) listeners: BTreeMap<SocketAddr, Listener>,
    /// Directions in which nothing gets through, from machine to machine.
    cuts: BTreeSet<(String, String)>,
    latency: RangeInclusive<Duration>,
    loss: f64,
    random: Random,
}

/// What becomes of a message.
pub(crate) enum Fate {
    Arrives {
        after: Duration,
    },
    /// Nobody hears of it again.
    Vanishes,
    /// The connection breaks, and the sender notices.
    Breaks {
        after: Duration,
    },
}

impl Network {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Sets how long messages take, each drawn from this range.
    pub fn set_latency(&self, latency: RangeInclusive<Duration>) {
        self.change("latency", &format!("{latency:?}"), |network| network.latency = latency);
    }

    /// Sets the share of messages, from 0 to 1, that are lost; half of them break the connection, so that the sender notices.
    pub fn set_loss(&self, loss: f64) {
        let loss = loss.clamp(0.0, 1.0);
        self.change("loss", &loss.to_string(), |network| network.loss = loss);
    }

    /// Lets nothing through between two machines any more, in either direction.
    pub fn cut(&self, one: &str, other: &str) {
        self.change("cut", &format!("{one} {other}"), |network| {
            network.cuts.insert((one.to_owned(), other.to_owned()));
            network.cuts.insert((other.to_owned(), one.to_owned()));
        });
    }

    /// Lets nothing through in one direction any more: neither requests nor answers.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        self.change("cut one way", &format!("{from} {to}"), |network| {
            network.cuts.insert((from.to_owned(), to.to_owned()));
        });
    }

    /// Lets everything through between two machines again.
    pub fn heal(&self, one: &str, other: &str) {
        self.change("heal", &format!("{one} {other}"), |network| {
            network.cuts.remove(&(one.to_owned(), other.to_owned()));
            network.cuts.remove(&(other.to_owned(), one.to_owned()));
        });
    }

    /// Lets everything through everywhere again, without loss.
    pub fn heal_all(&self) {
        self.change("heal all", "", |network| {
            network.cuts.clear();
            network.loss = 0.0;
        });
    }

    /// Adds an address of a machine to a DNS name.
    pub fn add_address(&self, name: &str, address: IpAddr) {
        self.change("dns", &format!("{name} {address}"), |network| {
            network.addresses.entry(name.to_ascii_lowercase()).or_default().push(address);
        });
    }

    /// Takes all records of a DNS name away.
    pub fn remove_name(&self, name: &str) {
        let name = name.to_ascii_lowercase();
        self.change("dns", &format!("{name} removed"), |network| {
            network.addresses.remove(&name);
            network.services.remove(&name);
        });
    }

    /// Adds an SRV record to a service name such as `_matrix-fed._tcp.example.org`.
    pub fn add_srv(&self, name: &str, record: Srv) {
        self.change("dns", &format!("{name} {record:?}"), |network| {
            network.services.entry(name.to_ascii_lowercase()).or_default().push(record);
        });
    }

    /// Sets whether DNS gives no answers.
    pub fn set_dns_failing(&self, fails: bool) {
        self.change("dns failing", &fails.to_string(), |network| network.dns_fails = fails);
    }

    fn change(&self, kind: &str, detail: &str, change: impl FnOnce(&mut NetworkState)) {
        let mut state = self.core.lock();
        state.record(kind, detail);
        change(&mut state.network);
    }
}

impl NetworkState {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            addresses: BTreeMap::new(),
            services: BTreeMap::new(),
            dns_fails: false,
            owners: BTreeMap::new(),
            listeners: BTreeMap::new(),
            cuts: BTreeSet::new(),
            latency: DEFAULT_LATENCY,
            loss: 0.0,
            random: derive(seed, "network"),
        }
    }

    pub(crate) fn is_cut(&self, from: &str, to: &str) -> bool {
        // A machine reaches itself over no cable.
        from != to && self.cuts.contains(&(from.to_owned(), to.to_owned()))
    }

    /// Draws what becomes of a message. The draws are the same whatever comes of it, so that one cut does not change the rest.
    pub(crate) fn fate(&mut self, from: &str, to: &str) -> Fate {
        let after = self.random.random_range(self.latency.clone());
        let lost = self.random.random_bool(self.loss);
        let noticed = self.random.random_bool(0.5);
        if self.is_cut(from, to) {
            Fate::Vanishes
        } else if lost && from != to {
            if noticed { Fate::Breaks { after } } else { Fate::Vanishes }
        } else {
            Fate::Arrives { after }
        }
    }
}
