//! What has to reach other servers does: in order, once, across outages of either side.

use std::{sync::atomic::Ordering, time::Duration};

use federation::{
    Edu,
    edu::{Receipt, ReceiptData, Receipts, Typing},
    limits::{MAX_EDUS, MAX_PDUS},
    queue::{MAX_WAIT_WHEN_BUSY, Queued},
};
use net::simulated::Simulation;
use serde_json::json;

use super::rig::*;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn pdu(n: usize) -> Queued {
    Queued::Pdu(raw(&json!({ "n": n })))
}

fn durable(n: usize) -> Queued {
    let content = json!({ "user_id": "@a:a.example", "device_id": "D", "stream_id": n });
    Queued::Edu(raw(&json!({ "edu_type": "m.device_list_update", "content": content })))
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| json!({ "n": n }).to_string()).collect()
}

fn setup(key: u8, peers: &[&str]) -> Setup {
    let setup = Setup { key, ..Setup::default() };
    setup.disk.queue.set_peers(peers);
    setup
}

fn typing(typing: bool) -> Edu {
    Edu::Typing(Typing { room_id: "!r:a.example".into(), user_id: "@a:a.example".into(), typing })
}

fn receipt(event: &str) -> Edu {
    let receipt = Receipt { event_ids: vec![event.into()], data: ReceiptData { ts: 1, thread_id: None } };
    let users = [("@a:a.example".to_owned(), receipt)].into();
    Edu::Receipt(Receipts([("!r:a.example".to_owned(), [("m.read".to_owned(), users)].into())].into()))
}

/// How long something takes, in virtual time.
async fn took(server: &Server, what: &str, holds: impl Fn() -> bool) -> Duration {
    let began = server.world.monotonic();
    until(&server.world, what, holds).await;
    server.world.monotonic() - began
}

#[test]
fn everything_arrives_once_and_in_order() {
    let simulation = Simulation::new(30);
    let a = Server::start(&simulation, "a.example", setup(1, &[]));
    let b = Server::start(&simulation, "b.example", setup(2, &[]));
    let queue = &a.setup.disk.queue;
    let run = simulation.run(async {
        for n in 0..175 {
            queue.push("b.example", pdu(n));
            if n < 120 {
                queue.push("b.example", durable(n));
            }
            if n % 10 == 0 {
                queue.push("b.example", Queued::Gone);
            }
            a.queues.wake("b.example");
            if n % 7 == 0 {
                a.world.sleep(Duration::from_millis(20)).await;
            }
        }
        until(&a.world, "the queue is empty", || queue.count("b.example") == 0).await;
    });
    run.unwrap();
    assert_eq!(b.answers.pdus(), numbers(175));
    let edus = b.answers.edus();
    let stream_ids: Vec<_> = edus
        .iter()
        .map(|edu| match edu {
            Edu::DeviceListUpdate(update) => update.stream_id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(stream_ids, (0..120).collect::<Vec<_>>());
    let transactions = b.answers.transactions.lock();
    assert!(transactions.iter().all(|taken| taken.pdus.len() <= MAX_PDUS && taken.edus.len() <= MAX_EDUS));
    assert!(transactions.iter().all(|taken| taken.origin == "a.example"));
    let metrics = a.queues.metrics();
    assert_eq!(metrics.pdus_sent.load(Ordering::Relaxed), 175);
    assert_eq!(metrics.edus_sent.load(Ordering::Relaxed), 120);
    assert_eq!(b.answers.most_at_once.load(Ordering::SeqCst), 1);
}

/// Has a transaction with three events arrive at b whose answer a never gets, and lets a try again in vain.
async fn lose_an_answer(simulation: &Simulation, a: &Server, b: &Server) {
    *b.answers.slow.lock() = Some((b.world.clone(), Duration::from_secs(10)));
    for n in 0..3 {
        a.setup.disk.queue.push("b.example", pdu(n));
    }
    a.queues.wake("b.example");
    until(&b.world, "b has it", || b.answers.at_once.load(Ordering::SeqCst) == 1).await;
    simulation.network().cut("a.example", "b.example");
    let failures = || a.queues.metrics().transactions_failed.load(Ordering::Relaxed);
    until(&a.world, "a has tried again", || failures() >= 3).await;
    assert_eq!(b.answers.pdus(), numbers(3));
    assert_eq!(a.setup.disk.queue.count("b.example"), 3);
}

#[test]
fn a_transaction_of_unknown_outcome_is_repeated_before_anything_else() {
    let simulation = Simulation::new(31);
    let a = Server::start(&simulation, "a.example", setup(1, &[]));
    let b = Server::start(&simulation, "b.example", setup(2, &[]));
    let run = simulation.run(async {
        lose_an_answer(&simulation, &a, &b).await;
        a.setup.disk.queue.push("b.example", pdu(3));
        a.queues.wake("b.example");
        simulation.network().heal_all();
        until(&a.world, "the queue is empty", || a.setup.disk.queue.count("b.example") == 0).await;
    });
    run.unwrap();
    assert_eq!(b.answers.pdus(), numbers(4), "each taken once");
}

#[test]
fn a_transaction_of_unknown_outcome_keeps_its_id_across_a_restart() {
    let simulation = Simulation::new(41);
    let setup_a = setup(1, &[]);
    let a = Server::start(&simulation, "a.example", setup_a.clone());
    let b = Server::start(&simulation, "b.example", setup(2, &[]));
    let run = simulation.run(async {
        lose_an_answer(&simulation, &a, &b).await;
        simulation.host("a.example").crash();
        simulation.network().heal_all();
        let a = Server::start(&simulation, "a.example", setup_a);
        until(&a.world, "the queue is empty", || a.setup.disk.queue.count("b.example") == 0).await;
        assert!(send_count(&b) >= 2);
    });
    run.unwrap();
    assert_eq!(b.answers.pdus(), numbers(3), "taken once");
}

fn send_count(server: &Server) -> usize {
    server.requests.lock().iter().filter(|request| request.contains("/v1/send/")).count()
}

#[test]
fn a_restart_keeps_the_queue() {
    let simulation = Simulation::new(32);
    let setup_a = setup(1, &["b.example"]);
    let a = Server::start(&simulation, "a.example", setup_a.clone());
    let run = simulation.run(async {
        for n in 0..60 {
            a.setup.disk.queue.push("b.example", pdu(n));
        }
        a.queues.wake("b.example");
        a.world.sleep(HOUR).await;
        assert!(a.queues.failing() == 1 && a.queues.metrics().transactions_failed.load(Ordering::Relaxed) > 5);
        simulation.host("a.example").crash();
        let b = Server::start(&simulation, "b.example", setup(2, &[]));
        let a = Server::start(&simulation, "a.example", setup_a);
        let took = took(&a, "everything is sent", || a.setup.disk.queue.count("b.example") == 0).await;
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(b.answers.pdus(), numbers(60));
    });
    run.unwrap();
}

#[test]
fn a_back_off_ends_when_the_peer_shows_itself() {
    let simulation = Simulation::new(33);
    let a = Server::start(&simulation, "a.example", setup(1, &["b.example"]));
    let run = simulation.run(async {
        a.setup.disk.queue.push("b.example", pdu(0));
        a.queues.wake("b.example");
        a.world.sleep(HOUR * 20).await;
        let failures = a.queues.metrics().transactions_failed.load(Ordering::Relaxed);
        assert!((20..200).contains(&failures), "{failures} attempts in 20 hours");
        // It comes back, but not knowing us it does not say so; we would find out within the hour.
        let b = Server::start(&simulation, "b.example", setup(2, &[]));
        b.world.sleep(Duration::from_secs(1)).await;
        assert_eq!(send_count(&b), 0);
        b.client.event("a.example", "$e").await.unwrap();
        let took = took(&a, "the event is there", || b.answers.pdus() == numbers(1)).await;
        assert!(took < Duration::from_secs(5), "{took:?}");
        until(&a.world, "that is noticed", || a.queues.failing() == 0).await;
    });
    run.unwrap();
}

#[test]
fn a_peer_that_we_cannot_reach_but_that_reaches_us_is_not_tried_all_the_time() {
    let simulation = Simulation::new(34);
    let a = Server::start(&simulation, "a.example", setup(1, &["b.example"]));
    let b = Server::start(&simulation, "b.example", setup(2, &[]));
    let run = simulation.run(async {
        b.client.event("a.example", "$e").await.unwrap();
        b.broken.store(true, Ordering::SeqCst);
        a.setup.disk.queue.push("b.example", pdu(0));
        a.queues.wake("b.example");
        for _ in 0..3600 {
            b.client.event("a.example", "$e").await.unwrap();
            b.world.sleep(Duration::from_secs(1)).await;
        }
        let failures = a.queues.metrics().transactions_failed.load(Ordering::Relaxed);
        assert!((50..150).contains(&failures), "{failures} attempts in an hour");
    });
    run.unwrap();
}

#[test]
fn a_server_that_starts_is_soon_sent_what_waits_for_it() {
    let simulation = Simulation::new(35);
    let a = Server::start(&simulation, "a.example", setup(1, &["b.example", "c.example"]));
    let c = Server::start(&simulation, "c.example", setup(3, &["a.example", "b.example"]));
    let setup_b = setup(2, &["a.example", "c.example"]);
    let b = Server::start(&simulation, "b.example", setup_b.clone());
    let run = simulation.run(async {
        b.world.sleep(Duration::from_secs(5)).await;
        simulation.host("b.example").crash();
        for (server, count) in [(&a, 150), (&c, 20)] {
            for n in 0..count {
                server.setup.disk.queue.push("b.example", pdu(n));
                server.queues.wake("b.example");
            }
        }
        a.world.sleep(HOUR * 5).await;
        // Nothing waits for a and c at b, which calls on them all the same.
        let b = Server::start(&simulation, "b.example", setup_b);
        let took = took(&a, "b has caught up", || b.answers.pdus().len() == 170).await;
        assert!(took < Duration::from_secs(15), "{took:?}");
    });
    run.unwrap();
}

#[test]
fn after_an_outage_of_ours_everyone_hears_from_us() {
    let simulation = Simulation::new(36);
    let a = Server::start(&simulation, "a.example", setup(1, &["b.example", "c.example"]));
    let b = Server::start(&simulation, "b.example", setup(2, &["a.example"]));
    let c = Server::start(&simulation, "c.example", setup(3, &["a.example"]));
    let run = simulation.run(async {
        a.world.sleep(Duration::from_secs(5)).await;
        for peer in ["b.example", "c.example"] {
            simulation.network().cut("a.example", peer);
        }
        a.setup.disk.queue.push("b.example", pdu(0));
        a.queues.wake("b.example");
        c.setup.disk.queue.push("a.example", pdu(0));
        c.queues.wake("a.example");
        a.world.sleep(HOUR * 5).await;
        simulation.network().heal_all();
        // As soon as a reaches b again, it calls on c, for whom nothing waits here.
        until(&a.world, "b has it", || b.answers.pdus() == numbers(1)).await;
        let took = took(&a, "a has it", || a.answers.pdus() == numbers(1)).await;
        assert!(took < Duration::from_secs(15), "{took:?}");
    });
    run.unwrap();
}

#[test]
fn a_peer_that_is_slow_but_there_gets_what_waits_soon_after_it_is_faster() {
    for (seed, takes) in [(42, 70), (43, 200), (44, 900)] {
        let simulation = Simulation::new(seed);
        let a = Server::start(&simulation, "a.example", setup(1, &[]));
        let b = Server::start(&simulation, "b.example", setup(2, &[]));
        let run = simulation.run(async {
            *b.answers.slow.lock() = Some((b.world.clone(), Duration::from_secs(takes)));
            for n in 0..180 {
                a.setup.disk.queue.push("b.example", pdu(n));
                a.queues.wake("b.example");
                a.world.sleep(Duration::from_secs(15)).await;
            }
            *b.answers.slow.lock() = None;
            // What it is at has to end first.
            until(&b.world, "it is done with that", || b.answers.at_once.load(Ordering::SeqCst) == 0).await;
            let took = took(&a, "the queue is empty", || a.setup.disk.queue.count("b.example") == 0).await;
            assert!(took < MAX_WAIT_WHEN_BUSY * 2, "{took:?} with {takes} s each");
        });
        run.unwrap();
        assert_eq!(b.answers.pdus(), numbers(180), "each once and in order");
        assert_eq!(b.answers.most_at_once.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn whatever_a_peer_goes_through_nothing_waits_for_ever() {
    for seed in 60..84 {
        let simulation = Simulation::new(seed);
        let a = Server::start(&simulation, "a.example", setup(1, &["b.example"]));
        let b = Server::start(&simulation, "b.example", setup(2, &["a.example"]));
        let dice = a.world.clone();
        let draw = |below: u64| u64::from_be_bytes(dice.random_bytes()) % below;
        let mut sent = 0;
        let run = simulation.run(async {
            for _ in 0..120 {
                match draw(8) {
                    0 => *b.answers.slow.lock() = Some((b.world.clone(), Duration::from_secs(draw(150)))),
                    1 => *b.answers.slow.lock() = None,
                    2 => simulation.network().set_loss(draw(40) as f64 / 100.0),
                    3 => simulation.network().cut("a.example", "b.example"),
                    4 => simulation.network().heal("a.example", "b.example"),
                    5 => {
                        let status = [429, 500, 502, 503, 504][draw(5) as usize];
                        b.answers.errors.lock().push_back(federation::ApiError::new(status, "M_UNKNOWN", "No."));
                    }
                    6 => b.broken.store(draw(2) == 0, Ordering::SeqCst),
                    _ => a.queues.send_volatile("b.example", typing(draw(2) == 0)),
                }
                for _ in 0..draw(20) {
                    a.setup.disk.queue.push("b.example", pdu(sent));
                    a.queues.wake("b.example");
                    sent += 1;
                }
                a.world.sleep(Duration::from_secs(draw(20))).await;
            }
            simulation.network().heal_all();
            simulation.network().set_loss(0.0);
            b.broken.store(false, Ordering::SeqCst);
            b.answers.errors.lock().clear();
            *b.answers.slow.lock() = None;
            // A fifth of what may have been an outage, and the last slow answers.
            let longest = Duration::from_secs(120 * 20 / 5 + 200);
            let took = took(&a, "the queue is empty", || a.setup.disk.queue.count("b.example") == 0).await;
            assert!(took < longest, "seed {seed}: {took:?}");
        });
        run.unwrap();
        assert_eq!(b.answers.pdus(), numbers(sent), "seed {seed}: each once and in order");
    }
}

#[test]
fn newer_news_supersedes_and_what_is_stale_is_not_sent() {
    let simulation = Simulation::new(37);
    let a = Server::start(&simulation, "a.example", setup(1, &[]));
    let run = simulation.run(async {
        // The peer is down: receipts wait for it, typing does not.
        for n in 0..10 {
            a.queues.send_volatile("b.example", typing(n % 2 == 0));
            a.queues.send_volatile("b.example", receipt(&format!("${n}")));
            a.world.sleep(Duration::from_secs(20)).await;
        }
        a.world.sleep(HOUR).await;
        let b = Server::start(&simulation, "b.example", setup(2, &[]));
        b.client.event("a.example", "$e").await.unwrap();
        until(&a.world, "b has the receipt", || !b.answers.edus().is_empty()).await;
        a.world.sleep(HOUR).await;
        assert_eq!(b.answers.edus(), [receipt("$9")]);
        // The peer is up: the same news can be told again.
        for state in [true, false, true] {
            a.queues.send_volatile("b.example", typing(state));
            a.world.sleep(Duration::from_secs(5)).await;
        }
        assert_eq!(b.answers.edus()[1..], [typing(true), typing(false), typing(true)]);
        // What must not get lost is not taken here.
        let content = json!({ "user_id": "@a:a.example" });
        let durable =
            serde_json::from_value(json!({ "edu_type": "m.signing_key_update", "content": content })).unwrap();
        a.queues.send_volatile("b.example", durable);
        a.world.sleep(Duration::from_secs(5)).await;
        assert_eq!(b.answers.edus().len(), 4);
    });
    run.unwrap();
}

#[test]
fn one_thing_that_a_peer_refuses_does_not_hold_up_the_rest() {
    let simulation = Simulation::new(38);
    let a = Server::start(&simulation, "a.example", setup(1, &[]));
    let b = Server::start(&simulation, "b.example", setup(2, &[]));
    *b.answers.poison.lock() = Some(json!({ "n": 13 }).to_string());
    let run = simulation.run(async {
        for n in 0..40 {
            a.setup.disk.queue.push("b.example", pdu(n));
        }
        a.queues.wake("b.example");
        until(&a.world, "the queue is empty", || a.setup.disk.queue.count("b.example") == 0).await;
    });
    run.unwrap();
    let mut expected = numbers(40);
    expected.remove(13);
    assert_eq!(b.answers.pdus(), expected);
    assert_eq!(a.queues.metrics().rows_given_up.load(Ordering::Relaxed), 1);
}

#[test]
fn one_seed_gives_one_run() {
    let run = |seed| {
        let simulation = Simulation::new(seed);
        let servers: Vec<_> = ["a.example", "b.example", "c.example"]
            .iter()
            .enumerate()
            .map(|(n, name)| {
                let peers: Vec<_> =
                    ["a.example", "b.example", "c.example"].into_iter().filter(|peer| peer != name).collect();
                Server::start(&simulation, name, setup(n as u8 + 1, &peers))
            })
            .collect();
        simulation.network().set_loss(0.1);
        let run = simulation.run(async {
            for n in 0..50 {
                servers[n % 3].setup.disk.queue.push(&servers[(n + 1) % 3].name, pdu(n));
                servers[n % 3].queues.wake(&servers[(n + 1) % 3].name);
                servers[0].world.sleep(Duration::from_millis(700)).await;
            }
            let all = || servers.iter().map(|server| server.answers.pdus().len()).sum::<usize>();
            until(&servers[0].world, "all has arrived", || all() == 50).await;
        });
        run.unwrap();
        simulation.digest()
    };
    assert_eq!(run(39), run(39));
    assert_ne!(run(39), run(40));
}
