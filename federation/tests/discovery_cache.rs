//! What server discovery remembers and for how long, in virtual time.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use federation::discovery::{Discovery, Options, Step};
use http::{Request, Response};
use http_body_util::Full;
use net::{
    Srv,
    simulated::{Certificate, Host, Simulation},
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A web server whose answers the test decides.
struct Web {
    answer: Arc<Mutex<Response<Bytes>>>,
    asked: Arc<Mutex<u32>>,
}

impl Web {
    fn start(host: &Host) -> Self {
        let web = Self { answer: Arc::default(), asked: Arc::default() };
        web.serve(host);
        web
    }

    fn serve(&self, host: &Host) {
        let (answer, asked) = (self.answer.clone(), self.asked.clone());
        host.serve(
            443,
            Certificate::of(host.name()),
            tower::service_fn(move |request: Request<Full<Bytes>>| {
                assert_eq!(request.uri().path(), "/.well-known/matrix/server");
                *asked.lock().unwrap() += 1;
                let answer = answer.lock().unwrap().clone().map(Full::new);
                async move { Ok::<_, Infallible>(answer) }
            }),
        );
    }

    fn answers(&self, status: u16, headers: &[(&str, &str)], body: &str) {
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        *self.answer.lock().unwrap() = answer.body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
    }

    fn delegates(&self, headers: &[(&str, &str)], to: &str) {
        self.answers(200, headers, &format!(r#"{{"m.server": "{to}"}}"#));
    }

    /// How often it has been asked since the last time.
    fn asked(&self) -> u32 {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

struct Lab {
    simulation: Simulation,
    discovery: Discovery,
    host: Host,
    web: Web,
}

impl Lab {
    fn new() -> Self {
        let simulation = Simulation::new(1);
        let host = simulation.host("example.org");
        let web = Web::start(&host);
        for other in ["one.example", "two.example"] {
            simulation.host(other);
        }
        let world = simulation.host("searcher.example").world();
        Self { discovery: Discovery::new(world, Options::default()), simulation, host, web }
    }

    /// Where requests to `example.org` go now: the port, which tells the answers of these tests apart.
    fn port(&self) -> u16 {
        let found = self.simulation.run(self.discovery.find("example.org")).unwrap().unwrap();
        found.targets[0].addresses[0].port()
    }

    fn wait(&self, duration: Duration) {
        self.simulation.run_for(duration).unwrap();
    }
}

#[test]
fn a_delegation_without_a_time_is_kept_for_a_day() {
    let lab = Lab::new();
    lab.web.delegates(&[], "one.example:1");
    assert_eq!(lab.port(), 1);
    lab.web.delegates(&[], "two.example:2");
    for _ in 0..23 {
        lab.wait(HOUR);
        assert_eq!(lab.port(), 1);
    }
    assert_eq!(lab.web.asked(), 1);
    lab.wait(2 * HOUR);
    assert_eq!((lab.port(), lab.web.asked()), (2, 1));
}

#[test]
fn a_delegation_is_kept_as_long_as_its_headers_say_within_bounds() {
    for (headers, kept, over) in [
        (("cache-control", "max-age=7200"), Duration::from_secs(7100), Duration::from_secs(7300)),
        (("cache-control", "max-age=31536000"), 47 * HOUR, 49 * HOUR),
        (("cache-control", "no-store"), 4 * MINUTE, 6 * MINUTE),
        (("cache-control", "max-age=0"), 4 * MINUTE, 6 * MINUTE),
        // Simulations begin on 1 January 2026.
        (("expires", "Thu, 01 Jan 2026 03:00:00 GMT"), 2 * HOUR, 4 * HOUR),
        (("expires", "yesterday"), 4 * MINUTE, 6 * MINUTE),
    ] {
        let lab = Lab::new();
        lab.web.delegates(&[headers], "one.example:1");
        assert_eq!(lab.port(), 1);
        lab.web.delegates(&[], "two.example:2");
        lab.wait(kept);
        assert_eq!(lab.port(), 1, "{headers:?}");
        lab.wait(over - kept);
        assert_eq!(lab.port(), 2, "{headers:?}");
    }
}

#[test]
fn failures_are_kept_for_longer_each_time_up_to_an_hour() {
    let lab = Lab::new();
    lab.web.answers(404, &[], "");
    let mut gaps = Vec::new();
    let mut last = lab.simulation.elapsed();
    while gaps.len() < 10 {
        assert_eq!(lab.port(), 8448);
        if lab.web.asked() > 0 {
            gaps.push((lab.simulation.elapsed() - last).as_secs() / 60);
            last = lab.simulation.elapsed();
        }
        lab.wait(MINUTE / 2);
    }
    // The first is the first question. What was found is kept as long as its DNS records, a minute here, so each gap may be that longer.
    let expected = [0, 1, 2, 4, 8, 16, 32, 60, 60, 60];
    assert!(gaps.iter().zip(expected).all(|(gap, expected)| (expected..=expected + 1).contains(gap)), "{gaps:?}");

    lab.web.delegates(&[], "one.example:1");
    lab.wait(HOUR + MINUTE);
    assert_eq!(lab.port(), 1, "a success ends it");
}

#[test]
fn a_delegation_outlives_a_web_server_that_is_down_but_not_one_that_takes_it_back() {
    let lab = Lab::new();
    lab.web.delegates(&[("cache-control", "max-age=3600")], "one.example:1");
    assert_eq!(lab.port(), 1);
    lab.host.crash();
    lab.wait(2 * HOUR);
    assert_eq!(lab.port(), 1);
    lab.web.serve(&lab.host);
    lab.web.answers(502, &[], "bad gateway");
    lab.wait(2 * HOUR);
    assert_eq!((lab.port(), lab.web.asked()), (1, 2));
    lab.wait(46 * HOUR);
    assert_eq!(lab.port(), 8448, "but not for ever");

    lab.web.delegates(&[], "two.example:2");
    lab.wait(2 * HOUR);
    assert_eq!(lab.port(), 2);
    lab.web.answers(404, &[], "");
    lab.wait(25 * HOUR);
    assert_eq!(lab.port(), 8448);
}

#[test]
fn a_doubted_server_is_looked_up_again() {
    let lab = Lab::new();
    lab.web.delegates(&[], "one.example:1");
    assert_eq!(lab.port(), 1);
    lab.web.delegates(&[], "two.example:2");
    lab.discovery.doubt("example.org");
    assert_eq!((lab.port(), lab.web.asked()), (1, 1), "not within minutes of the last time");
    lab.wait(10 * MINUTE);
    assert_eq!(lab.port(), 1, "and not without doubt");
    lab.discovery.doubt("example.org");
    assert_eq!((lab.port(), lab.web.asked()), (2, 1));
}

#[test]
fn many_at_once_ask_once() {
    let lab = Lab::new();
    lab.web.delegates(&[], "one.example:1");
    let all = (0..50).map(|_| lab.discovery.find("example.org"));
    let found = lab.simulation.run(futures::future::join_all(all)).unwrap();
    assert!(found.iter().all(|found| found.as_ref().unwrap().step == Step::DelegatedExplicitPort));
    assert_eq!(lab.web.asked(), 1);
}

#[test]
fn whoever_gives_up_does_not_hold_up_the_others() {
    let lab = Lab::new();
    lab.web.delegates(&[], "one.example:1");
    let world = lab.simulation.host("searcher.example").world();
    lab.simulation
        .run(async {
            let given_up = world.timeout(Duration::from_millis(1), lab.discovery.find("example.org")).await;
            assert!(given_up.is_err());
            lab.discovery.find("example.org").await.unwrap();
        })
        .unwrap();
}

#[test]
fn dns_records_are_looked_at_again_when_their_time_is_over() {
    let lab = Lab::new();
    lab.web.answers(404, &[], "");
    assert_eq!(lab.port(), 8448);
    let network = lab.simulation.network();
    network.add_srv(
        "_matrix-fed._tcp.example.org",
        Srv { target: "one.example".to_owned(), port: 1234, priority: 0, weight: 0 },
    );
    assert_eq!(lab.port(), 8448);
    lab.wait(2 * MINUTE);
    assert_eq!(lab.port(), 1234);
}
