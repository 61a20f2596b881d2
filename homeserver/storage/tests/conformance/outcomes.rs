use futures::future::join_all;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use storage::{Batch, BatchId, Class, Outcome, StorageError, Store, Version, limits};

use crate::common::{Disk, POINT, RANGE, batch, committed, put};

pub async fn preconditions_hold_or_conflict(disk: &Disk) {
    let store = disk.open();
    put(&store, POINT, b"k", b"one").await;
    let attempt = async |require: &dyn Fn(&mut Batch)| {
        let mut batch = batch();
        require(&mut batch);
        batch.put(POINT, b"result", b"");
        store.commit(batch).await
    };
    let conflicts = |outcome| matches!(outcome, Outcome::Conflict(at) if at.table == POINT && *at.key == *b"k");
    assert!(conflicts(attempt(&|batch| _ = batch.require_absent(POINT, b"k")).await));
    assert!(conflicts(attempt(&|batch| _ = batch.require_version(POINT, b"k", Version::of(b"two"))).await));
    assert!(!store.snapshot().contains(POINT, b"result").unwrap());
    let one = Version::of(b"one");
    assert_eq!(attempt(&|batch| _ = batch.require_version(POINT, b"k", one)).await, Outcome::Committed(2));
    let mut delete = batch();
    delete.delete(POINT, b"k");
    committed(&store, delete).await;
    assert!(conflicts(attempt(&|batch| _ = batch.require_version(POINT, b"k", one)).await));
    assert_eq!(attempt(&|batch| _ = batch.require_absent(POINT, b"k")).await, Outcome::Committed(4));
    // An empty value is not an absent one.
    put(&store, POINT, b"k", b"").await;
    assert!(conflicts(attempt(&|batch| _ = batch.require_absent(POINT, b"k")).await));
    assert_eq!(attempt(&|batch| _ = batch.require_version(POINT, b"k", Version::of(b""))).await, Outcome::Committed(6));
    // Preconditions are about what is there before the batch, not about its own writes.
    let mut own = batch();
    own.require_absent(POINT, b"fresh").put(POINT, b"fresh", b"1");
    committed(&store, own).await;
}

/// Batches that are all handed over before any is answered: most of them share a group.
async fn together(store: &Store, batches: Vec<Batch>) -> Vec<Outcome> {
    join_all(batches.into_iter().map(|batch| store.commit(batch))).await
}

pub async fn a_group_sees_the_batches_ahead(disk: &Disk) {
    let store = disk.open();
    // A chain: each batch names the head that the one before it writes, long before that is committed.
    let chain = (0..300_u32).map(|n| {
        let mut next = batch();
        match n.checked_sub(1) {
            None => next.require_absent(POINT, b"head"),
            Some(before) => next.require_version(POINT, b"head", Version::of(&before.to_be_bytes())),
        };
        next.put(POINT, b"head", &n.to_be_bytes());
        next
    });
    let outcomes = together(&store, chain.collect()).await;
    assert_eq!(outcomes, (1..=300).map(Outcome::Committed).collect::<Vec<_>>());
    assert_eq!(*store.snapshot().get(POINT, b"head").unwrap().unwrap(), 299_u32.to_be_bytes());
}

pub async fn dependants_of_a_conflict_conflict(disk: &Disk) {
    let store = disk.open();
    put(&store, POINT, b"head", b"0").await;
    let step = |from: &[u8], to: &[u8]| {
        let mut batch = batch();
        batch.require_version(POINT, b"head", Version::of(from)).put(POINT, b"head", to);
        batch
    };
    let outcomes = together(
        &store,
        vec![
            step(b"0", b"1"),
            step(b"wrong", b"2"),
            step(b"2", b"3"),
            step(b"1", b"4"),
            step(b"3", b"5"),
            step(b"4", b"6"),
        ],
    )
    .await;
    let committed: Vec<_> = outcomes.iter().map(Outcome::position).collect();
    assert_eq!(committed, [Some(2), None, None, Some(3), None, Some(4)]);
    assert_eq!(*store.snapshot().get(POINT, b"head").unwrap().unwrap(), *b"6");
}

pub async fn a_group_sees_deletes_and_ranges_ahead(disk: &Disk) {
    let store = disk.open();
    for key in [b"a", b"b", b"c"] {
        put(&store, RANGE, key, b"old").await;
    }
    let build = |build: &dyn Fn(&mut Batch)| {
        let mut batch = batch();
        build(&mut batch);
        batch
    };
    let old = Version::of(b"old");
    let outcomes = together(
        &store,
        vec![
            build(&|batch| _ = batch.delete(RANGE, b"a")),
            build(&|batch| _ = batch.require_absent(RANGE, b"a").put(RANGE, b"x", b"1")),
            build(&|batch| _ = batch.delete_range(RANGE, b"b", b"y").put(RANGE, b"c", b"new")),
            build(&|batch| _ = batch.require_absent(RANGE, b"b").require_absent(RANGE, b"x").put(RANGE, b"z", b"2")),
            build(&|batch| _ = batch.require_version(RANGE, b"c", old)),
            build(&|batch| _ = batch.require_version(RANGE, b"c", Version::of(b"new"))),
            build(&|batch| _ = batch.require_absent(RANGE, b"z")),
        ],
    )
    .await;
    let committed: Vec<_> = outcomes.iter().map(|outcome| outcome.position().is_some()).collect();
    assert_eq!(committed, [true, true, true, true, false, true, false]);
}

pub async fn a_retry_is_answered_the_same(disk: &Disk) {
    let store = disk.open();
    let mut first = batch();
    first.require_absent(POINT, b"k").put(POINT, b"k", b"1");
    let mut refused = batch();
    refused.require_absent(POINT, b"k").put(POINT, b"k", b"2");
    let outcomes =
        together(&store, vec![first.clone(), first.clone(), refused.clone(), first.clone(), refused.clone()]).await;
    assert_eq!(outcomes[0], Outcome::Committed(1));
    assert_eq!((&outcomes[1], &outcomes[3]), (&outcomes[0], &outcomes[0]));
    assert!(matches!(outcomes[2], Outcome::Conflict(_)));
    assert_eq!(outcomes[4], outcomes[2]);
    // Even when it would be decided otherwise now.
    let mut delete = batch();
    delete.delete(POINT, b"k");
    committed(&store, delete).await;
    assert_eq!(together(&store, vec![refused, first]).await, [outcomes[2].clone(), outcomes[0].clone()]);
    assert!(!store.snapshot().contains(POINT, b"k").unwrap());
    assert_eq!(store.position(), 2);
}

pub async fn a_retry_is_answered_the_same_after_a_restart(disk: &Disk) {
    let store = disk.open();
    let mut first = batch();
    first.require_absent(POINT, b"k").put(POINT, b"k", b"1");
    let mut refused = batch();
    refused.require_absent(POINT, b"k").put(POINT, b"k", b"2");
    let mut logged = batch();
    logged.class(Class::Logged).put(POINT, b"l", b"1");
    let batches = vec![first, refused, logged];
    let outcomes = together(&store, batches.clone()).await;
    let mut delete = batch();
    delete.delete(POINT, b"k");
    committed(&store, delete).await;
    drop(store);
    let store = disk.open();
    assert_eq!(together(&store, batches).await, outcomes);
    assert_eq!(store.position(), 3);
}

pub async fn an_id_is_remembered_for_the_stated_positions(disk: &Disk) {
    let store = disk.open();
    let mut old = batch();
    old.made_at(store.position()).put(POINT, b"k", b"1");
    let mut undated = batch();
    undated.put(POINT, b"undated", b"1");
    assert_eq!(committed(&store, undated.clone()).await, 1);
    assert_eq!(committed(&store, old.clone()).await, 2);
    let fill = async |count: u64| {
        let fill = (0..count).map(|_| {
            let mut batch = batch();
            batch.class(Class::Logged);
            batch
        });
        for outcome in together(&store, fill.collect()).await {
            assert!(outcome.position().is_some());
        }
    };
    fill(limits::REMEMBERED_POSITIONS).await;
    assert_eq!(store.position(), 2 + limits::REMEMBERED_POSITIONS);
    assert_eq!(committed(&store, old.clone()).await, 2);
    fill(1).await;
    let outcome = store.commit(old.clone()).await;
    assert!(matches!(outcome, Outcome::Unknown(StorageError::Forgotten { made_at: 0, .. })), "{outcome:?}");
    // The same after a restart: what is remembered follows from the log.
    drop(store);
    let store = disk.open();
    assert!(matches!(store.commit(old).await, Outcome::Unknown(StorageError::Forgotten { .. })));
    // Nothing says that this one is old.
    assert_eq!(committed(&store, undated).await, store.position());
}

/// A history of batches that name each other's writes, repeat ids, and cover ranges.
fn history(seed: u64) -> Vec<Batch> {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let mut batches: Vec<Batch> = Vec::new();
    for n in 0..400_u32 {
        if !batches.is_empty() && rng.random_bool(0.1) {
            let earlier = rng.random_range(0..batches.len());
            batches.push(batches[earlier].clone());
            continue;
        }
        let mut batch = Batch::new(BatchId::of("history", &[&seed.to_be_bytes()[..], &n.to_be_bytes()].concat()));
        for _ in 0..rng.random_range(0..3) {
            let key = [rng.random_range(0..6)];
            if rng.random_bool(0.4) {
                batch.require_absent(RANGE, &key);
            } else {
                batch.require_version(RANGE, &key, Version::of(&[rng.random_range(0..3)]));
            }
        }
        for _ in 0..rng.random_range(1..4) {
            let key = [rng.random_range(0..6)];
            match rng.random_range(0..10) {
                0 => _ = batch.delete_range(RANGE, &key, &[rng.random_range(0..7)]),
                1 | 2 => _ = batch.delete(RANGE, &key),
                _ => _ = batch.put(RANGE, &key, &[rng.random_range(0..3)]),
            }
        }
        batches.push(batch);
    }
    batches
}

pub async fn outcomes_follow_from_the_log_alone(disk: &Disk) {
    for seed in 0..4 {
        let alone = Disk::memory();
        let one_by_one = alone.open();
        let mut expected = Vec::new();
        for batch in history(seed) {
            expected.push(one_by_one.commit(batch).await);
        }
        let grouped = disk.open();
        let before = grouped.position();
        let mut clear = batch();
        clear.delete_range(RANGE, b"", b"");
        let start = committed(&grouped, clear).await;
        assert_eq!(start, before + 1);
        let outcomes = together(&grouped, history(seed)).await;
        let shifted: Vec<_> = expected
            .iter()
            .map(|outcome| match outcome {
                Outcome::Committed(position) => Outcome::Committed(position + start),
                other => other.clone(),
            })
            .collect();
        assert_eq!(outcomes, shifted, "seed {seed}");
        let rows = |store: &Store| store.snapshot().scan_prefix(RANGE, b"").map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(rows(&grouped), rows(&one_by_one), "seed {seed}");
        let conflicts = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Conflict(_))).count();
        assert!((50..350).contains(&conflicts), "seed {seed}: {conflicts} conflicts prove little");
    }
}
