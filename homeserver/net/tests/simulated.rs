//! Two simulated servers, run from seeds.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use net::{
    Connect, OutboundRequest, Redirects, SendError, Srv, TaskError, World,
    simulated::{Certificate, Digest, Host, Network, PeerAddress, Simulation, SimulationError},
};
use rand::RngExt;

const PORT: u16 = 8448;

/// A service that counts pings, takes its time, and sometimes says no.
fn serve_pongs(host: &Host, answered: Arc<AtomicU32>) {
    let world = host.world();
    let name = host.name().to_owned();
    host.serve(
        PORT,
        Certificate::of(host.name()),
        tower::service_fn(move |request: Request<Full<Bytes>>| {
            let (world, name, answered) = (world.clone(), name.clone(), answered.clone());
            async move {
                let PeerAddress(_) = request.extensions().get().copied().unwrap();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let pause = Duration::from_millis(world.rng().random_range(0..200));
                world.sleep(pause).await;
                let status =
                    if world.rng().random_bool(0.1) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
                let count = answered.fetch_add(1, Ordering::Relaxed);
                let text = format!("{name} pong {count} to {}", String::from_utf8_lossy(&body));
                Ok::<_, Infallible>(Response::builder().status(status).body(Full::from(text)).unwrap())
            }
        }),
    );
}

/// Pings the other server, with pauses, until it has been answered `wanted` times.
async fn ping(world: World, host: Host, other: &'static str, wanted: u32) -> u32 {
    let uri: Uri = format!("https://{other}:{PORT}/ping").parse().unwrap();
    let (mut answered, mut tries) = (0, 0);
    while answered < wanted {
        tries += 1;
        world.sleep(Duration::from_millis(world.rng().random_range(1..500))).await;
        let mut request = OutboundRequest::new(Method::PUT, uri.clone()).timeout(Duration::from_secs(2));
        request.body = Bytes::from(format!("{} at {}", host.name(), world.now()));
        match world.http().send(request).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                answered += 1;
                let body = answer.bytes(1000).await.unwrap();
                host.note(&String::from_utf8_lossy(&body));
            }
            Ok(answer) => host.note(&format!("refused: {}", answer.status)),
            Err(error) => host.note(&error.to_string()),
        }
    }
    tries
}

/// Cuts and heals the network at random, and crashes one server.
async fn nemesis(world: World, network: Network, alpha: Host, answered: Arc<AtomicU32>) {
    let mut random = world.rng();
    for round in 0..12 {
        world.sleep(Duration::from_millis(random.random_range(100..1500))).await;
        match random.random_range(0..4) {
            0 => network.cut("alpha.example", "beta.example"),
            1 => network.cut_one_way("beta.example", "alpha.example"),
            2 => network.set_loss(0.3),
            _ => network.set_latency(Duration::from_millis(1)..=Duration::from_millis(random.random_range(2..900))),
        }
        world.sleep(Duration::from_millis(random.random_range(100..1500))).await;
        network.heal_all();
        if round == 6 {
            alpha.crash();
            serve_pongs(&alpha, answered.clone());
        }
    }
}

fn run(seed: u64) -> (Digest, u32, Vec<String>) {
    let simulation = Simulation::new(seed);
    let (alpha, beta) = (simulation.host("alpha.example"), simulation.host("beta.example"));
    let answered = Arc::new(AtomicU32::new(0));
    serve_pongs(&alpha, answered.clone());
    serve_pongs(&beta, answered.clone());
    let chaos = simulation.host("nemesis");
    let tries = simulation
        .run(async {
            let trouble = chaos
                .world()
                .spawn("nemesis", nemesis(chaos.world(), simulation.network(), alpha.clone(), answered.clone()));
            // The pinging task of alpha ends when alpha crashes; it is started again.
            let mut tries = 0;
            let pings = beta.world().spawn("pings", ping(beta.world(), beta.clone(), "alpha.example", 30));
            loop {
                let world = alpha.world();
                match world.spawn("pings", ping(world.clone(), alpha.clone(), "beta.example", 30)).await {
                    Ok(more) => break tries += more,
                    Err(TaskError::Aborted(_)) => tries += 1000,
                    Err(error) => panic!("{error}"),
                }
            }
            tries += pings.await.unwrap();
            trouble.await.unwrap();
            tries
        })
        .unwrap();
    assert!(answered.load(Ordering::Relaxed) >= 60);
    (simulation.digest(), tries, simulation.trace())
}

#[test]
fn equal_seeds_give_equal_traces_and_others_differ() {
    let mut digests = BTreeSet::new();
    let mut troubled = 0;
    for seed in 0..20 {
        let (first, tries, trace) = run(seed);
        let (second, _, again) = run(seed);
        assert_eq!(trace, again, "seed {seed}");
        assert_eq!(first, second, "seed {seed}");
        digests.insert(first.to_string());
        troubled += u32::from(trace.iter().any(|line| line.contains("vanished")) && tries > 60);
    }
    assert_eq!(digests.len(), 20);
    assert!(troubled > 10, "the network must have been in trouble in most runs, and was in {troubled}");
}

#[test]
fn time_is_virtual_and_ordered() {
    let simulation = Simulation::new(1);
    let host = simulation.host("alpha.example");
    let world = host.world();
    host.set_clock_skew(-250);
    let order = simulation.run(async {
        let (early, late) = (world.clone(), world.clone());
        let late = world.spawn("late", async move {
            late.sleep(Duration::from_secs(86_400)).await;
            late.now().millis()
        });
        let early = world.spawn("early", async move {
            early.sleep(Duration::from_secs(1)).await;
            early.now().millis()
        });
        (early.await.unwrap(), late.await.unwrap())
    });
    let start = net::simulated::START.millis() - 250;
    assert_eq!(order, Ok((start + 1000, start + 86_400_000)));
    assert_eq!(simulation.elapsed(), Duration::from_secs(86_400));
}

#[test]
fn a_crash_ends_tasks_and_ports_and_nothing_starts_in_the_old_world() {
    let simulation = Simulation::new(2);
    let (alpha, beta) = (simulation.host("alpha.example"), simulation.host("beta.example"));
    let ticks = Arc::new(AtomicU32::new(0));
    let (old, ticking) = (alpha.world(), ticks.clone());
    let clock = old.clone();
    old.spawn("ticks", async move {
        loop {
            clock.sleep(Duration::from_secs(1)).await;
            ticking.fetch_add(1, Ordering::Relaxed);
        }
    });
    serve_pongs(&alpha, ticks.clone());
    simulation.run_for(Duration::from_millis(10_500)).unwrap();
    assert_eq!(ticks.load(Ordering::Relaxed), 10);
    alpha.crash();
    let orphan = old.spawn("orphan", async {});
    let world = beta.world();
    let error = simulation.run(async {
        assert_eq!(orphan.await, Err(TaskError::Aborted("orphan")));
        let uri = format!("https://alpha.example:{PORT}/").parse().unwrap();
        world.http().send(OutboundRequest::get(uri)).await.unwrap_err()
    });
    assert!(error.unwrap().to_string().contains("connection refused"));
    simulation.run_for(Duration::from_secs(60)).unwrap();
    assert_eq!(ticks.load(Ordering::Relaxed), 10);
}

#[test]
fn a_cut_hides_answers_and_a_timeout_says_whether_the_request_got_through() {
    let simulation = Simulation::new(3);
    let (alpha, beta) = (simulation.host("alpha.example"), simulation.host("beta.example"));
    let answered = Arc::new(AtomicU32::new(0));
    serve_pongs(&alpha, answered.clone());
    let network = simulation.network();
    let world = beta.world();
    let uri: Uri = format!("https://alpha.example:{PORT}/").parse().unwrap();
    simulation
        .run(async {
            network.cut("alpha.example", "beta.example");
            let error = world.http().send(OutboundRequest::get(uri.clone())).await.unwrap_err();
            assert!(error.is_unsent(), "{error}");
            network.heal_all();
            network.set_latency(Duration::from_secs(1)..=Duration::from_secs(1));
            let cutting = {
                let (world, network) = (world.clone(), network.clone());
                world.clone().spawn("cut", async move {
                    // Connecting takes one second, the request the next.
                    world.sleep(Duration::from_millis(2500)).await;
                    network.cut("alpha.example", "beta.example");
                })
            };
            let error = world.http().send(OutboundRequest::get(uri)).await.unwrap_err();
            cutting.await.unwrap();
            assert!(matches!(&error, SendError::Timeout { unsent: false, .. }), "{error}");
        })
        .unwrap();
    assert_eq!(answered.load(Ordering::Relaxed), 1);
}

#[test]
fn names_certificates_and_redirects_work_as_in_the_real_client() {
    let simulation = Simulation::new(4);
    let (alpha, beta) = (simulation.host("alpha.example"), simulation.host("beta.example"));
    let app = axum::Router::new()
        .route(
            "/host",
            axum::routing::get(
                |headers: http::HeaderMap| async move { headers[header::HOST].to_str().unwrap().to_owned() },
            ),
        )
        .route(
            "/away",
            axum::routing::get(|| async { axum::response::Redirect::temporary("https://beta.example/host") }),
        )
        .route("/loop", axum::routing::get(|| async { axum::response::Redirect::temporary("/loop") }));
    alpha.serve(443, Certificate::of("alpha.example"), app.clone());
    beta.serve(443, Certificate::of("beta.example"), app);
    simulation.network().add_srv(
        "_matrix-fed._tcp.gamma.example",
        Srv { target: "alpha.example".to_owned(), port: 443, priority: 1, weight: 0 },
    );
    let world = beta.world();
    let get = |uri: &'static str| OutboundRequest::get(Uri::from_static(uri));
    simulation
        .run(async {
            let answer =
                world.http().send(get("https://alpha.example/away").redirects(Redirects::Follow(3))).await.unwrap();
            assert_eq!(answer.uri, "https://beta.example/host");
            assert_eq!(answer.bytes(100).await.unwrap(), "beta.example");

            let error =
                world.http().send(get("https://alpha.example/loop").redirects(Redirects::Follow(3))).await.unwrap_err();
            assert!(matches!(error, SendError::Redirect { .. }), "{error}");

            let answer = world.http().send(get("https://alpha.example/away")).await.unwrap();
            assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);

            let found = world.resolver().lookup_srv("_matrix-fed._tcp.gamma.example").await.unwrap();
            assert_eq!(found.records[0].target, "alpha.example");
            let at = (alpha.address(), 443).into();
            let wrong = get("https://gamma.example/host").connect_to(vec![at], "gamma.example");
            let error = world.http().send(wrong).await.unwrap_err();
            assert!(error.to_string().contains("not for gamma.example"), "{error}");

            let mut request = get("https://gamma.example/host").connect_to(vec![at], "alpha.example");
            request.connect = Connect::To(vec![(alpha.address(), 1).into(), at]);
            let answer = world.http().send(request).await.unwrap();
            assert_eq!(answer.bytes(100).await.unwrap(), "gamma.example");
        })
        .unwrap();
}

#[test]
fn runs_that_cannot_end_say_so_with_their_seed() {
    let simulation = Simulation::new(99);
    let world = simulation.host("alpha.example").world();
    world.spawn("stuck", std::future::pending::<()>());
    let stalled = simulation.run(std::future::pending::<()>()).unwrap_err();
    assert_eq!(stalled.to_string(), "seed 99: nothing can happen any more; waiting: stuck on alpha.example");

    simulation.limit_steps(1000);
    let endless = simulation.run(async {
        loop {
            world.sleep(Duration::from_secs(1)).await;
        }
    });
    assert_eq!(endless, Err::<(), _>(SimulationError::Endless { seed: 99, steps: 1000 }));

    world.spawn("clumsy", async { panic!("oh") });
    let panicked = simulation.run_for(Duration::from_secs(1)).unwrap_err();
    assert_eq!(panicked.to_string(), "seed 99: the task `clumsy` panicked: oh");
}

#[test]
fn blocking_work_is_done_even_if_nobody_waits_for_it() {
    let simulation = Simulation::new(5);
    let world = simulation.host("alpha.example").world();
    let done = Arc::new(AtomicU32::new(0));
    let work = done.clone();
    let answer = simulation.run(async {
        let doubled = world.blocking(|| 21 * 2).await;
        let abandoned = world.timeout(Duration::ZERO, world.blocking(move || work.fetch_add(1, Ordering::Relaxed)));
        let _ = abandoned.await;
        world.sleep(Duration::from_secs(1)).await;
        doubled
    });
    assert_eq!(answer, Ok(42));
    assert_eq!(done.load(Ordering::Relaxed), 1);
}
