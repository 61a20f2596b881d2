//! DNS through hickory, with the hosts file in front.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, RecordType},
};
use parking_lot::Mutex;
use rand::RngExt;

use super::{
    NameServers,
    hosts::{self, HostsFile},
};
use crate::{Answer, Chance, LookupError, Random, Resolver, Srv, dns::order_srv};
use rand::SeedableRng;

/// The most answers of DNS servers that are cached.
const MAX_CACHED_ANSWERS: u64 = 1024;

/// How long an address or an absence may be cached that DNS gave no time for.
const DEFAULT_VALIDITY: Duration = Duration::from_secs(60);

/// The most addresses, and the most SRV records, that are taken from one answer.
const MAX_RECORDS: usize = 32;

/// The longest a lookup takes, over all DNS servers and tries.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);

const ADDRESSES: &str = "A or AAAA";
const SERVICES: &str = "SRV";

/// DNS servers and the hosts file.
pub(crate) struct DnsResolver {
    name_servers: NameServers,
    hosts: HostsFile,
    /// Made at the first lookup, and again at the next one if it could not be made: the network may come up after the server.
    resolver: Mutex<Option<TokioResolver>>,
    chance: Arc<dyn Chance>,
}

impl DnsResolver {
    pub(crate) fn new(name_servers: NameServers, hosts: HostsFile, chance: Arc<dyn Chance>) -> Self {
        Self { name_servers, hosts, resolver: Mutex::new(None), chance }
    }

    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let mut made = self.resolver.lock();
        if let Some(resolver) = made.as_ref() {
            return Ok(resolver.clone());
        }
        let provider = TokioRuntimeProvider::default();
        let mut builder = match &self.name_servers {
            NameServers::System => TokioResolver::builder(provider)?,
            NameServers::At(addresses) => {
                let servers = addresses.iter().copied().map(name_server).collect();
                TokioResolver::builder_with_config(ResolverConfig::from_name_servers(servers), provider)
            }
        };
        let options = builder.options_mut();
        options.cache_size = MAX_CACHED_ANSWERS;
        options.use_hosts_file = ResolveHosts::Never;
        options.try_tcp_on_error = true;
        let resolver = builder.build()?;
        *made = Some(resolver.clone());
        Ok(resolver)
    }

    /// Runs one lookup within [`LOOKUP_TIMEOUT`], and says what went wrong in our words.
    async fn within_time<T>(
        &self,
        name: &str,
        kind: &'static str,
        lookup: impl Future<Output = Result<T, NetError>>,
    ) -> Result<T, LookupError> {
        let failed = |detail: String| LookupError::Failed { name: name.to_owned(), kind, detail };
        match tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(none)))) => Err(LookupError::Absent {
                name: name.to_owned(),
                kind,
                valid_for: none.negative_ttl.map_or(DEFAULT_VALIDITY, |seconds| Duration::from_secs(seconds.into())),
            }),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no DNS server answered within {LOOKUP_TIMEOUT:?}"))),
        }
    }
}

#[async_trait]
impl Resolver for DnsResolver {
    async fn lookup_ip(&self, name: &str) -> Result<Answer<IpAddr>, LookupError> {
        let name = name.trim_end_matches('.');
        if let Ok(address) = name.parse() {
            return Ok(Answer { records: vec![address], valid_for: Duration::MAX });
        }
        let query = dns_name(name)?;
        let listed = self.hosts.lookup(name);
        if !listed.is_empty() {
            return Ok(Answer { records: listed, valid_for: hosts::RELOAD_INTERVAL });
        }
        if query.is_localhost() {
            // RFC 6761, section 6.3: such names never go to DNS servers.
            let records = vec![IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];
            return Ok(Answer { records, valid_for: hosts::RELOAD_INTERVAL });
        }
        let found = self.within_time(name, ADDRESSES, async { self.resolver()?.lookup_ip(query).await }).await?;
        let records = interleave(found.iter().take(MAX_RECORDS));
        if records.is_empty() {
            return Err(LookupError::Absent { name: name.to_owned(), kind: ADDRESSES, valid_for: DEFAULT_VALIDITY });
        }
        Ok(Answer { records, valid_for: left_until(found.valid_until()) })
    }

    async fn lookup_srv(&self, name: &str) -> Result<Answer<Srv>, LookupError> {
        let name = name.trim_end_matches('.');
        let mut query = dns_name(name)?;
        query.set_fqdn(true);
        let found =
            self.within_time(name, SERVICES, async { self.resolver()?.lookup(query, RecordType::SRV).await }).await?;
        let records = found.answers().iter().filter_map(|record| match &record.data {
            // RFC 2782: the target `.` says that the service is decidedly not available.
            RData::SRV(srv) if !srv.target.is_root() => Some(Srv {
                target: srv.target.to_ascii().trim_end_matches('.').to_owned(),
                port: srv.port,
                priority: srv.priority,
                weight: srv.weight,
            }),
            _ => None,
        });
        let records: Vec<Srv> = records.take(MAX_RECORDS).collect();
        if records.is_empty() {
            return Err(LookupError::Absent { name: name.to_owned(), kind: SERVICES, valid_for: DEFAULT_VALIDITY });
        }
        let mut seed = [0; 32];
        self.chance.fill(&mut seed);
        let mut random = Random::from_seed(seed);
        let records = order_srv(records, |most| random.random_range(0..=most));
        Ok(Answer { records, valid_for: left_until(found.valid_until()) })
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn dns_name(name: &str) -> Result<Name, LookupError> {
    let invalid = |detail: String| LookupError::Invalid { name: name.to_owned(), detail };
    if name.is_empty() {
        return Err(invalid("it is empty".to_owned()));
    }
    let mut parsed = Name::from_ascii(name).map_err(|error| invalid(error.to_string()))?;
    // A name with a dot is whole: the search list of resolv.conf must not turn `example.org` into `example.org.office.example`.
    // One without is what Docker, Kubernetes and home networks use for machines nearby.
    if parsed.num_labels() > 1 {
        parsed.set_fqdn(true);
    }
    Ok(parsed)
}

/// IPv6 and IPv4 in turn (RFC 8305, section 4), each once, so that a family without a route costs one try and not all of them.
fn interleave(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let (six, four): (Vec<IpAddr>, Vec<IpAddr>) = addresses.partition(IpAddr::is_ipv6);
    let mut ordered = Vec::with_capacity(six.len() + four.len());
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    loop {
        let pair = [six.next(), four.next()];
        if pair == [None, None] {
            return ordered;
        }
        for address in pair.into_iter().flatten() {
            if !ordered.contains(&address) {
                ordered.push(address);
            }
        }
    }
}

fn left_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
