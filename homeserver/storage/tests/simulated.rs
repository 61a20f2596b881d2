//! The in-memory engine in a simulated world: time is virtual, and a seed repeats the run.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{POINT, RANGE, SCHEMA};
use futures::future::join_all;
use net::simulated::{Digest, Simulation};
use rand::RngExt;
use storage::{Batch, Faults, Outcome, Store, Topic, Version, limits};

const SYNC: Duration = Duration::from_millis(5);

#[test]
fn writers_share_a_sync_of_virtual_time() {
    let simulation = Simulation::new(1);
    let world = simulation.host("alpha.example").world();
    let disk = Faults::none();
    disk.set_sync_time(SYNC);
    let store = Store::open_memory(&SCHEMA, world.clone(), disk);
    let commits = (0..200_u32).map(|n| {
        let mut batch = Batch::with_random_id(&world);
        batch.put(POINT, &n.to_be_bytes(), b"");
        store.commit(batch)
    });
    let outcomes = simulation.run(join_all(commits)).unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.position().is_some()));
    assert_eq!(simulation.elapsed(), SYNC);
}

/// Two stores with writers and readers that race; what they saw goes into the trace.
fn race(seed: u64) -> (Digest, String) {
    let simulation = Simulation::new(seed);
    let mut tasks = Vec::new();
    for name in ["alpha.example", "beta.example"] {
        let host = simulation.host(name);
        let world = host.world();
        let disk = Faults::none();
        disk.set_sync_time(SYNC);
        let store = Store::open_memory(&SCHEMA, world.clone(), disk);
        let topic = Topic::of("room", b"");
        for writer in 0..8_u8 {
            let (task_world, store, host) = (world.clone(), store.clone(), host.clone());
            tasks.push(world.spawn("writer", async move {
                for _ in 0..20 {
                    let millis = task_world.rng().random_range(0..20);
                    task_world.sleep(Duration::from_millis(millis)).await;
                    let head = store.snapshot().get(RANGE, b"head").unwrap();
                    let mut batch = Batch::with_random_id(&task_world);
                    match &head {
                        Some(head) => batch.require_version(RANGE, b"head", Version::of(head)),
                        None => batch.require_absent(RANGE, b"head"),
                    };
                    batch.put(RANGE, b"head", &task_world.random_bytes::<8>()).topic(topic);
                    match store.commit(batch).await {
                        Outcome::Committed(position) => host.note(&format!("{writer} wrote {position}")),
                        Outcome::Conflict(_) => host.note(&format!("{writer} lost")),
                        Outcome::Unknown(error) => panic!("{error}"),
                    }
                }
            }));
        }
        let (store, host) = (store.clone(), host.clone());
        world.clone().spawn("reader", async move {
            let mut subscription = store.subscribe(&[topic]);
            loop {
                let position = subscription.changed().await;
                host.note(&format!("woken at {position}"));
            }
        });
    }
    simulation.run(join_all(tasks)).unwrap().into_iter().for_each(Result::unwrap);
    (simulation.digest(), simulation.trace().join("\n"))
}

#[test]
fn one_seed_is_one_run() {
    let (first, trace) = race(7);
    assert_eq!(race(7).0, first);
    assert_ne!(race(8).0, first);
    for happened in ["wrote", "lost", "woken"] {
        assert!(trace.contains(happened), "nobody {happened}");
    }
}

#[test]
fn a_crash_in_mid_commit_loses_nothing_that_was_answered() {
    let (mut answered, mut unanswered) = (0, 0);
    for seed in 0..40 {
        let simulation = Simulation::new(seed);
        let host = simulation.host("alpha.example");
        let world = host.world();
        let disk = Faults::none();
        disk.set_sync_time(SYNC);
        let store = Store::open_memory(&SCHEMA, world.clone(), disk.clone());
        let known = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
        for writer in 0..4_u8 {
            let (task_world, known, store) = (world.clone(), known.clone(), store.clone());
            world.spawn("writer", async move {
                for n in 0_u8.. {
                    let mut batch = Batch::with_random_id(&task_world);
                    batch.put(RANGE, &[writer, n], b"").put(POINT, &[writer, n], b"");
                    if let Outcome::Committed(position) = store.commit(batch).await {
                        known.lock().push((position, [writer, n]));
                    }
                    let millis = task_world.rng().random_range(0..10);
                    task_world.sleep(Duration::from_millis(millis)).await;
                }
            });
        }
        simulation.run_for(Duration::from_millis(50 + 7 * seed)).unwrap();
        host.crash();
        disk.lose_power();
        drop(store);
        let store = Store::open_memory(&SCHEMA, host.world(), disk);
        let known = std::mem::take(&mut *known.lock());
        let snapshot = store.snapshot();
        for (position, key) in &known {
            assert!(snapshot.contains(RANGE, key).unwrap(), "seed {seed}: position {position} is lost");
        }
        let keys = |table| snapshot.scan_prefix(table, b"").map(|row| row.unwrap().0).collect::<Vec<_>>();
        assert_eq!(keys(RANGE), keys(POINT), "seed {seed}");
        let last = known.iter().map(|(position, _)| *position).max().unwrap_or_default();
        assert!((last + limits::MAX_UNSYNCED_POSITIONS..).contains(&store.position()));
        answered += known.len();
        unanswered += keys(RANGE).len() - known.len();
    }
    println!("{answered} answered batches, {unanswered} unanswered ones on disk");
    assert!(answered > 500);
}
