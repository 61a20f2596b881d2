//! Server discovery through every numbered step of the server-server API, "Resolving server names": against a DNS server, web servers
//! and homeservers on loopback, asserting the address connected to, the certificate name and the `Host` header.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

#[path = "../../homeserver/net/tests/rig/mod.rs"]
mod rig;

use std::net::{IpAddr, SocketAddr};

use federation::discovery::{Discovery, DiscoveryError, Options, Step};
use http::{HeaderValue, header};
use net::{NameServers, OutboundRequest, RealOptions, SendError, TlsRoots, World};
use rig::{
    authority::Authority,
    dns::Dns,
    loopback,
    peer::{Peer, Reply, redirect, text},
};

/// Where web servers listen here, in place of 443. Every one has an address of its own.
const WEB: u16 = 44_443;

const FEDERATION: u16 = 8448;

/// DNS, an authority, and somebody who looks for servers.
struct Lab {
    authority: Authority,
    dns: Dns,
    world: World,
    discovery: Discovery,
    _hosts: tempfile::TempDir,
}

/// What happened to a request that discovery led somewhere.
#[derive(Debug, PartialEq, Eq)]
struct Arrival {
    step: Step,
    at: SocketAddr,
    sni: Option<String>,
    host: String,
}

impl Lab {
    async fn new(hosts: &str) -> Self {
        let (authority, dns) = (Authority::new(), Dns::default());
        let directory = tempfile::tempdir().unwrap();
        let hosts_file = directory.path().join("hosts");
        std::fs::write(&hosts_file, hosts).unwrap();
        let world = World::real(RealOptions {
            allow_private_addresses: true,
            extra_ca_files: vec![authority.file()],
            roots: TlsRoots::ExtraOnly,
            name_servers: NameServers::At(vec![dns.start().await]),
            hosts_file: Some(hosts_file),
            user_agent: None,
        })
        .unwrap();
        let discovery = Discovery::new(world.clone(), Options { well_known_port: WEB });
        Self { authority, dns, world, discovery, _hosts: directory }
    }

    /// A homeserver with a certificate for these names.
    async fn homeserver(&self, at: SocketAddr, names: &[&str]) -> Peer {
        Peer::start(at, Some(self.authority.server(names, &["h2", "http/1.1"])), |_| text(200, "{}")).await
    }

    /// A web server for that host, with an A record.
    async fn web(&self, host: &str, answer: impl Fn() -> Reply + Send + Sync + 'static) -> Peer {
        let at = SocketAddr::new(loopback(), WEB);
        self.dns.address(host, at.ip());
        Peer::start(at, Some(self.authority.server(&[host], &["http/1.1"])), move |_| answer()).await
    }

    /// A web server that delegates that host.
    async fn delegating(&self, host: &str, to: &str) -> Peer {
        let body = serde_json::json!({ "m.server": to }).to_string();
        self.web(host, move || text(200, &body)).await
    }

    /// Sends a request to the server of that name; `peer` must be the one it arrives at.
    async fn ask(&self, server_name: &str, peer: &Peer) -> Arrival {
        let found = self.discovery.find(server_name).await.unwrap_or_else(|error| panic!("{error}"));
        let before = peer.seen().len();
        let mut failures = String::new();
        for target in &found.targets {
            let uri = format!("https://{}/_matrix/federation/v1/version", target.host).parse().unwrap();
            let request = OutboundRequest::get(uri)
                .connect_to(target.addresses.clone(), target.tls_name.clone())
                .header(header::HOST, HeaderValue::from_str(&target.host).unwrap());
            match self.world.http().send(request).await {
                Ok(answer) => {
                    assert_eq!(answer.status, 200);
                    let seen = peer.seen();
                    assert_eq!(
                        seen.len(),
                        before + 1,
                        "{server_name} arrived at {} and not at {}",
                        answer.peer,
                        peer.at
                    );
                    let seen = seen.last().unwrap().clone();
                    return Arrival { step: found.step, at: seen.at, sni: seen.sni, host: seen.host };
                }
                Err(error) => failures += &error.to_string(),
            }
        }
        panic!("{server_name}: {failures}");
    }
}

fn arrival(step: Step, at: SocketAddr, sni: &str, host: &str) -> Arrival {
    let sni = (!sni.is_empty()).then(|| sni.to_owned());
    Arrival { step, at, sni, host: host.to_owned() }
}

fn on(port: u16) -> SocketAddr {
    SocketAddr::new(loopback(), port)
}

#[tokio::test]
async fn step_1_an_ip_literal() {
    let lab = Lab::new("").await;
    let at = on(FEDERATION);
    let ip = at.ip().to_string();
    let peer = lab.homeserver(at, &[&ip]).await;
    assert_eq!(lab.ask(&ip, &peer).await, arrival(Step::IpLiteral, at, "", &ip));

    let at = on(4321);
    let (ip, name) = (at.ip().to_string(), at.to_string());
    let peer = lab.homeserver(at, &[&ip]).await;
    assert_eq!(lab.ask(&name, &peer).await, arrival(Step::IpLiteral, at, "", &name));

    // Machines without IPv6 cannot show this part; the name's way through discovery is the same.
    let found = lab.discovery.find("[::1]").await.unwrap();
    assert_eq!(found.targets[0].addresses, ["[::1]:8448".parse().unwrap()]);
    assert_eq!((found.targets[0].tls_name.as_str(), found.targets[0].host.as_str()), ("::1", "[::1]"));
    if let Ok(listener) = std::net::TcpListener::bind("[::1]:0") {
        let at = listener.local_addr().unwrap();
        drop(listener);
        let peer = lab.homeserver(at, &["::1"]).await;
        assert_eq!(lab.ask(&at.to_string(), &peer).await, arrival(Step::IpLiteral, at, "", &at.to_string()));
    }
    assert_eq!(lab.dns.asked(), [], "an address needs no DNS");
}

#[tokio::test]
async fn step_2_a_name_with_a_port() {
    let lab = Lab::new("").await;
    let web = lab.delegating("example.org", "elsewhere.example").await;
    let peer = lab.homeserver(SocketAddr::new(web.at.ip(), 1234), &["example.org"]).await;
    lab.dns.srv("_matrix-fed._tcp.example.org", 0, 0, 1, "elsewhere.example");
    assert_eq!(
        lab.ask("example.org:1234", &peer).await,
        arrival(Step::ExplicitPort, peer.at, "example.org", "example.org:1234")
    );
    // A CNAME leads to the address, and changes nothing else.
    let aliased = lab.homeserver(on(1234), &["alias.example"]).await;
    lab.dns.alias("alias.example", "real.example").address("real.example", aliased.at.ip());
    assert_eq!(
        lab.ask("alias.example:1234", &aliased).await,
        arrival(Step::ExplicitPort, aliased.at, "alias.example", "alias.example:1234")
    );
    assert_eq!(web.connections(), 0, "a name with a port is not delegated");
    assert!(lab.dns.asked().iter().all(|(name, _)| !name.starts_with('_')), "a name with a port has no SRV records");
}

#[tokio::test]
async fn step_3_1_delegated_to_an_ip_literal() {
    let lab = Lab::new("").await;
    for port in [None, Some(2345)] {
        let at = on(port.unwrap_or(FEDERATION));
        let ip = at.ip().to_string();
        let delegated = if port.is_some() { at.to_string() } else { ip.clone() };
        let host = format!("a{}.example", port.unwrap_or(0));
        let web = lab.delegating(&host, &delegated).await;
        let peer = lab.homeserver(at, &[&ip]).await;
        assert_eq!(lab.ask(&host, &peer).await, arrival(Step::DelegatedIpLiteral, at, "", &delegated));
        let asked = &web.seen()[0];
        assert_eq!((asked.target.as_str(), asked.sni.as_deref()), ("/.well-known/matrix/server", Some(host.as_str())));
    }
}

#[tokio::test]
async fn step_3_2_delegated_to_a_name_with_a_port() {
    let lab = Lab::new("").await;
    let _web = lab.delegating("example.org", "matrix.example.org:3456").await;
    let peer = lab.homeserver(on(3456), &["matrix.example.org"]).await;
    lab.dns.address("matrix.example.org", peer.at.ip());
    lab.dns.srv("_matrix-fed._tcp.matrix.example.org", 0, 0, 1, "decoy.example");
    assert_eq!(
        lab.ask("example.org", &peer).await,
        arrival(Step::DelegatedExplicitPort, peer.at, "matrix.example.org", "matrix.example.org:3456")
    );
}

#[tokio::test]
async fn step_3_3_delegated_to_a_name_with_an_srv_record() {
    let lab = Lab::new("").await;
    let _web = lab.delegating("example.org", "matrix.example.org").await;
    // The certificate is for the delegated name, not for the record's target.
    let peer = lab.homeserver(on(4567), &["matrix.example.org"]).await;
    let decoy = lab.homeserver(on(FEDERATION), &["matrix.example.org"]).await;
    lab.dns
        .srv("_matrix-fed._tcp.matrix.example.org", 0, 0, 4567, "machine.example.net")
        .srv("_matrix._tcp.matrix.example.org", 0, 0, FEDERATION, "decoy.example")
        .srv("_matrix-fed._tcp.example.org", 0, 0, FEDERATION, "decoy.example")
        .address("machine.example.net", peer.at.ip())
        .address("matrix.example.org", decoy.at.ip())
        .address("decoy.example", decoy.at.ip());
    assert_eq!(
        lab.ask("example.org", &peer).await,
        arrival(Step::DelegatedSrv, peer.at, "matrix.example.org", "matrix.example.org")
    );
    assert_eq!(decoy.connections(), 0);
}

#[tokio::test]
async fn step_3_4_delegated_to_a_name_with_a_deprecated_srv_record() {
    let lab = Lab::new("").await;
    let _web = lab.delegating("example.org", "matrix.example.org").await;
    let peer = lab.homeserver(on(5678), &["matrix.example.org"]).await;
    let decoy = lab.homeserver(on(FEDERATION), &["matrix.example.org"]).await;
    lab.dns
        .srv("_matrix._tcp.matrix.example.org", 0, 0, 5678, "machine.example.net")
        .address("machine.example.net", peer.at.ip())
        .address("matrix.example.org", decoy.at.ip());
    assert_eq!(
        lab.ask("example.org", &peer).await,
        arrival(Step::DelegatedDeprecatedSrv, peer.at, "matrix.example.org", "matrix.example.org")
    );
    assert_eq!(decoy.connections(), 0);
}

#[tokio::test]
async fn step_3_5_delegated_to_a_name_without_srv_records() {
    let lab = Lab::new("").await;
    let web = lab.delegating("example.org", "matrix.example.org").await;
    let peer = lab.homeserver(on(FEDERATION), &["matrix.example.org"]).await;
    let decoy = lab.homeserver(SocketAddr::new(web.at.ip(), FEDERATION), &["example.org", "matrix.example.org"]).await;
    // Records of the first name say nothing about the second.
    lab.dns
        .srv("_matrix-fed._tcp.example.org", 0, 0, FEDERATION, "example.org")
        .address("matrix.example.org", peer.at.ip());
    assert_eq!(
        lab.ask("example.org", &peer).await,
        arrival(Step::DelegatedDefaultPort, peer.at, "matrix.example.org", "matrix.example.org")
    );
    assert_eq!(decoy.connections(), 0);
}

#[tokio::test]
async fn step_4_an_srv_record() {
    let lab = Lab::new("").await;
    let web = lab.web("example.org", || text(404, "{}")).await;
    let peer = lab.homeserver(on(6789), &["example.org"]).await;
    let decoy = lab.homeserver(SocketAddr::new(web.at.ip(), FEDERATION), &["example.org"]).await;
    lab.dns
        .srv("_matrix-fed._tcp.example.org", 0, 0, 6789, "machine.example.net")
        .srv("_matrix._tcp.example.org", 0, 0, FEDERATION, "example.org")
        .address("machine.example.net", peer.at.ip());
    assert_eq!(lab.ask("example.org", &peer).await, arrival(Step::Srv, peer.at, "example.org", "example.org"));
    assert_eq!((web.seen().len(), decoy.connections()), (1, 0));
}

#[tokio::test]
async fn step_5_a_deprecated_srv_record() {
    let lab = Lab::new("").await;
    let web = lab.web("example.org", || text(500, "{}")).await;
    let peer = lab.homeserver(on(7890), &["example.org"]).await;
    let decoy = lab.homeserver(SocketAddr::new(web.at.ip(), FEDERATION), &["example.org"]).await;
    lab.dns
        .srv("_matrix._tcp.example.org", 0, 0, 7890, "machine.example.net")
        .address("machine.example.net", peer.at.ip());
    assert_eq!(
        lab.ask("example.org", &peer).await,
        arrival(Step::DeprecatedSrv, peer.at, "example.org", "example.org")
    );
    assert_eq!((web.seen().len(), decoy.connections()), (1, 0));
}

#[tokio::test]
async fn step_6_nothing_but_a_name() {
    let lab = Lab::new("").await;
    // No web server at all: the connection is refused.
    let peer = lab.homeserver(on(FEDERATION), &["example.org"]).await;
    lab.dns.address("example.org", peer.at.ip());
    assert_eq!(lab.ask("example.org", &peer).await, arrival(Step::DefaultPort, peer.at, "example.org", "example.org"));

    // DNS cannot say whether there are SRV records.
    let peer = lab.homeserver(on(FEDERATION), &["flaky.example"]).await;
    lab.dns.address("flaky.example", peer.at.ip());
    lab.dns.fail("_matrix-fed._tcp.flaky.example").fail("_matrix._tcp.flaky.example");
    assert_eq!(
        lab.ask("flaky.example", &peer).await,
        arrival(Step::DefaultPort, peer.at, "flaky.example", "flaky.example")
    );
}

#[tokio::test]
async fn an_invalid_delegation_is_none() {
    let lab = Lab::new("").await;
    let large = format!(r#"{{"m.server": "decoy.example:1", "padding": "{}"}}"#, "x".repeat(60 * 1024));
    for (number, (status, body)) in [
        (200, String::new()),
        (200, "<html></html>".to_owned()),
        (200, r#"{"m.server": "#.to_owned()),
        (200, "{}".to_owned()),
        (200, "[]".to_owned()),
        (200, r#"{"m.server": null}"#.to_owned()),
        (200, r#"{"m.server": 8448}"#.to_owned()),
        (200, r#"{"m.server": ""}"#.to_owned()),
        (200, r#"{"m.server": "https://decoy.example"}"#.to_owned()),
        (200, r#"{"m.server": "decoy.example:99999"}"#.to_owned()),
        (200, r#"{"m.server": "decoy.example/path"}"#.to_owned()),
        (200, large),
        (201, r#"{"m.server": "decoy.example:1"}"#.to_owned()),
        (404, r#"{"m.server": "decoy.example:1"}"#.to_owned()),
        (503, r#"{"m.server": "decoy.example:1"}"#.to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let host = format!("host{number}.example");
        let web = lab.web(&host, move || text(status, &body)).await;
        let found = lab.discovery.find(&host).await.unwrap();
        assert_eq!(found.step, Step::DefaultPort, "answer {number}");
        assert_eq!(found.targets[0].addresses, [SocketAddr::new(web.at.ip(), FEDERATION)]);
        assert_eq!(web.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_web_server_that_does_not_prove_its_name_delegates_nothing() {
    let lab = Lab::new("").await;
    let at = on(WEB);
    lab.dns.address("example.org", at.ip());
    let tls = lab.authority.server(&["other.example"], &["http/1.1"]);
    let web = Peer::start(at, Some(tls), |_| text(200, r#"{"m.server": "evil.example:1"}"#)).await;
    assert_eq!(lab.discovery.find("example.org").await.unwrap().step, Step::DefaultPort);
    assert!(web.seen().is_empty());
}

#[tokio::test]
async fn redirects_to_the_delegation_are_followed_and_circles_are_left() {
    let lab = Lab::new("").await;
    let body = r#"{"m.server": "matrix.example.org:3456"}"#;
    let target = lab.web("target.example", || text(200, body)).await;
    let start = lab.web("example.org", || redirect(301, &format!("https://target.example:{WEB}/somewhere?else"))).await;
    lab.dns.address("matrix.example.org", on(1).ip());
    assert_eq!(lab.discovery.find("example.org").await.unwrap().step, Step::DelegatedExplicitPort);
    assert_eq!((start.seen().len(), target.seen()[0].target.as_str()), (1, "/somewhere?else"));

    let circle = lab.web("circle.example", || redirect(302, "/.well-known/matrix/server")).await;
    assert_eq!(lab.discovery.find("circle.example").await.unwrap().step, Step::DefaultPort);
    assert_eq!(circle.seen().len(), usize::from(federation::discovery::MAX_REDIRECTS) + 1);
}

#[tokio::test]
async fn all_addresses_of_a_name_are_tried() {
    let lab = Lab::new("").await;
    let peer = lab.homeserver(on(1234), &["example.org"]).await;
    // Nothing listens on the first ones; another has the wrong certificate.
    let wrong = lab.homeserver(on(1234), &["other.example"]).await;
    let mut all: Vec<IpAddr> = vec![loopback(), loopback(), wrong.at.ip(), peer.at.ip()];
    for address in &all {
        lab.dns.address("example.org", *address);
    }
    let found = lab.discovery.find("example.org:1234").await.unwrap();
    let mut known: Vec<IpAddr> = found.targets[0].addresses.iter().map(SocketAddr::ip).collect();
    known.sort();
    all.sort();
    assert_eq!(known, all);
    assert_eq!(
        lab.ask("example.org:1234", &peer).await,
        arrival(Step::ExplicitPort, peer.at, "example.org", "example.org:1234")
    );
    assert!(wrong.seen().is_empty());
}

#[tokio::test]
async fn all_srv_records_are_tried_by_priority() {
    let lab = Lab::new("").await;
    let backup = lab.homeserver(on(1234), &["example.org"]).await;
    lab.dns.address("example.org", loopback());
    lab.dns
        .srv("_matrix-fed._tcp.example.org", 10, 0, 1, "gone.example")
        .srv("_matrix-fed._tcp.example.org", 20, 0, 1, "down.example")
        .srv("_matrix-fed._tcp.example.org", 30, 0, 1234, "backup.example")
        .address("down.example", loopback())
        .address("backup.example", backup.at.ip());
    assert_eq!(lab.ask("example.org", &backup).await, arrival(Step::Srv, backup.at, "example.org", "example.org"));
    assert_eq!(lab.discovery.find("example.org").await.unwrap().targets.len(), 2);
}

#[tokio::test]
async fn the_hosts_file_counts() {
    let at = on(FEDERATION);
    let lab = Lab::new(&format!("{} example.org synapse\n", at.ip())).await;
    let peer = lab.homeserver(at, &["example.org", "synapse"]).await;
    assert_eq!(lab.ask("example.org", &peer).await, arrival(Step::DefaultPort, at, "example.org", "example.org"));
    assert_eq!(lab.ask("synapse:8448", &peer).await, arrival(Step::ExplicitPort, at, "synapse", "synapse:8448"));
    assert!(lab.dns.asked().iter().all(|(name, _)| name.starts_with('_')), "{:?}", lab.dns.asked());
}

#[tokio::test]
async fn a_server_that_proves_only_its_own_name_is_not_the_one_dns_says_it_is() {
    let lab = Lab::new("").await;
    let peer = lab.homeserver(on(1234), &["machine.example.net"]).await;
    lab.dns
        .srv("_matrix-fed._tcp.example.org", 0, 0, 1234, "machine.example.net")
        .address("machine.example.net", peer.at.ip())
        .address("example.org", loopback());
    let found = lab.discovery.find("example.org").await.unwrap();
    let target = &found.targets[0];
    let request = OutboundRequest::get("https://example.org/".parse().unwrap())
        .connect_to(target.addresses.clone(), target.tls_name.clone());
    let error = lab.world.http().send(request).await.unwrap_err();
    assert!(matches!(error, SendError::Connect { .. }) && error.to_string().contains("certificate"), "{error}");
    assert!(peer.seen().is_empty());
}

#[tokio::test]
async fn what_cannot_be_found_is_said() {
    let lab = Lab::new("").await;
    let error = lab.discovery.find("absent.example").await.unwrap_err();
    assert!(matches!(error, DiscoveryError::NoAddress { step: Step::DefaultPort, .. }));
    assert!(error.to_string().contains("absent.example (step 6 of server discovery)"), "{error}");
    let error = lab.discovery.find("absent.example:1").await.unwrap_err();
    assert!(matches!(error, DiscoveryError::NoAddress { step: Step::ExplicitPort, .. }), "{error}");
    for name in ["", "a b", "https://example.org", "example.org:port", "[::1"] {
        assert!(matches!(lab.discovery.find(name).await, Err(DiscoveryError::Name(_))), "{name}");
    }
}
