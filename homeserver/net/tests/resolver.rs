//! The real resolver against a DNS server on loopback.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod rig;

use std::{net::IpAddr, time::Duration};

use hickory_proto::rr::RecordType;
use net::{LookupError, NameServers, RealOptions, TlsRoots, World};
use rig::dns::{Dns, NEGATIVE_TTL, TTL};

async fn world(dns: &Dns, hosts: &str) -> (World, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let hosts_file = directory.path().join("hosts");
    std::fs::write(&hosts_file, hosts).unwrap();
    let options = RealOptions {
        name_servers: NameServers::At(vec![dns.start().await]),
        hosts_file: Some(hosts_file),
        roots: TlsRoots::ExtraOnly,
        ..RealOptions::default()
    };
    (World::real(options).unwrap(), directory)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn near(valid_for: Duration, seconds: u32) -> bool {
    let most = Duration::from_secs(seconds.into());
    valid_for <= most && valid_for + Duration::from_secs(60) > most
}

#[tokio::test]
async fn all_addresses_of_a_name_and_their_time_to_live() {
    let dns = Dns::default();
    for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"] {
        dns.address("many.example", ip(address));
    }
    dns.alias("alias.example", "many.example");
    let (world, _hosts) = world(&dns, "").await;
    for name in ["many.example", "MANY.example.", "alias.example"] {
        let found = world.resolver().lookup_ip(name).await.unwrap();
        let mut sorted = found.records.clone();
        sorted.sort();
        let all = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"].map(ip);
        assert_eq!(sorted, all, "{name}");
        let families: Vec<bool> = found.records.iter().map(IpAddr::is_ipv6).collect();
        assert_eq!(families, [true, false, true, false, false], "families take turns");
        assert!(near(found.valid_for, TTL), "{:?}", found.valid_for);
    }
}

#[tokio::test]
async fn none_and_no_answer_are_different() {
    let dns = Dns::default();
    dns.fail("broken.example");
    let (world, _hosts) = world(&dns, "").await;
    let error = world.resolver().lookup_ip("absent.example").await.unwrap_err();
    let LookupError::Absent { valid_for, .. } = error else { panic!("{error}") };
    assert!(near(valid_for, NEGATIVE_TTL), "{valid_for:?}");
    let error = world.resolver().lookup_srv("_matrix-fed._tcp.absent.example").await.unwrap_err();
    assert!(error.is_absent() && error.to_string().contains("_matrix-fed._tcp.absent.example"), "{error}");
    let error = world.resolver().lookup_ip("broken.example").await.unwrap_err();
    assert!(matches!(error, LookupError::Failed { .. }), "{error}");
    for name in ["", "a..b", &"a".repeat(64), "ä.example"] {
        let error = world.resolver().lookup_ip(name).await.unwrap_err();
        assert!(matches!(error, LookupError::Invalid { .. }), "{name}: {error}");
    }
    let asked: Vec<String> = dns.asked().into_iter().map(|(name, _)| name).collect();
    assert!(
        asked.iter().all(
            |name| ["absent.example", "broken.example", "_matrix-fed._tcp.absent.example"].contains(&name.as_str())
        ),
        "no search list is applied to whole names: {asked:?}"
    );
}

#[tokio::test]
async fn srv_records_by_priority_and_weight() {
    let dns = Dns::default();
    let name = "_matrix-fed._tcp.example.org";
    dns.srv(name, 20, 0, 3, "last.example.org").srv(name, 10, 0, 2, "rare.example.org").srv(
        name,
        10,
        1000,
        1,
        "often.example.org",
    );
    dns.srv("_matrix._tcp.example.org", 0, 0, 0, ".");
    let (world, _hosts) = world(&dns, "").await;
    let mut first = 0;
    for _ in 0..200 {
        let found = world.resolver().lookup_srv(name).await.unwrap();
        assert!(near(found.valid_for, TTL));
        let targets: Vec<(&str, u16)> = found.records.iter().map(|srv| (srv.target.as_str(), srv.port)).collect();
        assert_eq!(targets[2], ("last.example.org", 3));
        first += u32::from(targets[0] == ("often.example.org", 1));
        assert!(targets[..2].contains(&("rare.example.org", 2)));
    }
    // Expected: 1000 of 1001 draws.
    assert!(first >= 180, "{first} of 200");
    let error = world.resolver().lookup_srv("_matrix._tcp.example.org").await.unwrap_err();
    assert!(error.is_absent(), "the target \".\" says that there is no such service: {error}");
}

#[tokio::test]
async fn the_hosts_file_goes_before_dns() {
    let dns = Dns::default();
    dns.address("both.example", ip("192.0.2.1")).address("dns.example", ip("192.0.2.2"));
    let (world, _hosts) = world(&dns, "192.0.2.77 both.example short\n2001:db8::77 Both.Example\n").await;
    let lookup = async |name: &str| world.resolver().lookup_ip(name).await.map(|found| found.records);
    assert_eq!(lookup("both.example").await.unwrap(), [ip("192.0.2.77"), ip("2001:db8::77")]);
    assert_eq!(lookup("SHORT").await.unwrap(), [ip("192.0.2.77")]);
    assert_eq!(lookup("dns.example").await.unwrap(), [ip("192.0.2.2")]);
    assert_eq!(lookup("192.0.2.9").await.unwrap(), [ip("192.0.2.9")]);
    assert!(lookup("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    assert!(lookup("sub.localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    let asked: Vec<(String, RecordType)> = dns.asked();
    assert!(asked.iter().all(|(name, _)| name == "dns.example"), "{asked:?}");
}
