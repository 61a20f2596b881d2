//! One machine.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::Full;
use tower::Service;

use super::{
    executor::{Core, HostState, derive},
    http::{Certificate, listener},
    parts::Machine,
};
use crate::{Parts, World};

/// A machine of a simulation. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    core: Arc<Core>,
    name: Arc<str>,
    address: IpAddr,
}

impl Host {
    pub(crate) fn new(core: Arc<Core>, name: &str) -> Self {
        let mut state = core.lock();
        let known = state.network.owners.iter().find(|(_, owner)| *owner == name).map(|(address, _)| *address);
        let address = known.unwrap_or_else(|| {
            let number = u32::try_from(state.hosts.len()).unwrap_or(u32::MAX).saturating_add(1);
            let address = IpAddr::V4(Ipv4Addr::from_bits(u32::from_be_bytes([10, 0, 0, 0]) | (number & 0xff_ffff)));
            state.record("host", &format!("{name} {address}"));
            let random = derive(core.seed, &format!("host {name}"));
            state.hosts.insert(name.to_owned(), HostState { life: 0, skew: 0, random });
            state.network.owners.insert(address, name.to_owned());
            state.network.addresses.entry(name.to_ascii_lowercase()).or_default().push(address);
            address
        });
        drop(state);
        Self { core, name: name.into(), address }
    }

    /// The machine's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The machine's address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The machine's world, until its next crash: from then on, what is started in this world never runs.
    pub fn world(&self) -> World {
        let life = self.core.lock().hosts.get(&*self.name).map_or(0, |host| host.life);
        let machine = Arc::new(Machine { core: self.core.clone(), name: self.name.clone(), life });
        World::from_parts(Parts {
            clock: machine.clone(),
            tasks: machine.clone(),
            chance: machine.clone(),
            resolver: machine.clone(),
            http: machine,
        })
    }

    /// Answers requests to a port of this machine until its next crash: an axum router, or a `tower::service_fn`.
    ///
    /// Each request is a task of its own, carries the [`PeerAddress`](super::PeerAddress) as an extension, and is answered whether or not
    /// the other side still waits. With [`Certificate::None`] the port speaks plain HTTP.
    pub fn serve<S, B>(&self, port: u16, certificate: Certificate, service: S)
    where
        S: Service<http::Request<Full<Bytes>>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: std::fmt::Display,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let at = SocketAddr::new(self.address, port);
        let mut state = self.core.lock();
        state.record("listen", &format!("{} {at} {certificate:?}", self.name));
        let life = state.hosts.get(&*self.name).map_or(0, |host| host.life);
        let before = state.network.listeners.insert(at, listener(self.name.clone(), life, certificate, service));
        drop(state);
        drop(before);
    }

    /// Ends everything that runs on this machine, in the middle of whatever it is doing, and closes its ports. What is durable is up to the
    /// caller, as is starting again, in a new [`Host::world`].
    pub fn crash(&self) {
        let mut state = self.core.lock();
        state.record("crash", &self.name);
        if let Some(host) = state.hosts.get_mut(&*self.name) {
            host.life += 1;
        }
        let listeners = &mut state.network.listeners;
        let ports: Vec<SocketAddr> = listeners.keys().filter(|at| at.ip() == self.address).copied().collect();
        let closed: Vec<_> = ports.iter().filter_map(|at| listeners.remove(at)).collect();
        drop(state);
        drop(closed);
        self.core.kill(&self.name);
    }

    /// Sets how far, in milliseconds, this machine's time of day is ahead of the others'.
    pub fn set_clock_skew(&self, millis: i64) {
        let mut state = self.core.lock();
        state.record("skew", &format!("{} {millis}", self.name));
        if let Some(host) = state.hosts.get_mut(&*self.name) {
            host.skew = millis;
        }
    }

    /// Writes a line of the test's own into the trace.
    pub fn note(&self, text: &str) {
        self.core.lock().record("note", &format!("{} {text}", self.name));
    }
}
