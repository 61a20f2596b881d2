//! What happens when the disk fails, on the engine whose disk fails on command.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use common::{POINT, RANGE, SCHEMA, batch, committed, put, world};
use futures::future::join_all;
use storage::{Batch, Class, Fault, Faults, Outcome, StorageError, Store, limits};

fn open(disk: &Faults) -> Store {
    Store::open_memory(&SCHEMA, world(), disk.clone())
}

fn unknown(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Unknown(error) if !error.certainly_not_applied())
}

async fn retried_after(fault: Fault) -> (u64, u64) {
    let disk = Faults::none();
    let store = open(&disk);
    put(&store, POINT, b"before", b"").await;
    let mut write = batch();
    write.require_absent(POINT, b"k").put(POINT, b"k", b"v");
    let mut together = batch();
    together.put(POINT, b"together", b"");
    disk.fail_write(1, fault);
    let outcomes = join_all([write.clone(), together].map(|batch| store.commit(batch))).await;
    assert!(outcomes.iter().all(unknown), "{outcomes:?}");
    // Readers see nothing of it, and nobody writes behind it.
    assert_eq!(store.position(), 1);
    assert!(!store.snapshot().contains(POINT, b"k").unwrap());
    let refused = store.commit(write.clone()).await;
    assert!(matches!(&refused, Outcome::Unknown(error @ StorageError::Stopped(_)) if error.certainly_not_applied()));
    drop(store);
    let store = open(&disk);
    let found = store.position();
    let position = committed(&store, write.clone()).await;
    assert_eq!(committed(&store, write).await, position);
    assert_eq!(store.snapshot().get(POINT, b"k").unwrap().unwrap(), "v");
    assert!(store.snapshot().contains(POINT, b"before").unwrap());
    (found, position)
}

#[tokio::test]
async fn a_write_that_failed_can_be_retried() {
    assert_eq!(retried_after(Fault::NotApplied).await, (1, 2));
}

#[tokio::test]
async fn a_write_that_took_effect_unanswered_is_recognised() {
    assert_eq!(retried_after(Fault::Applied).await, (3, 2));
}

#[tokio::test]
async fn power_lost_in_mid_commit_loses_only_what_was_not_answered() {
    // Positions that may have been announced are not used again.
    let skipped = 1 + limits::MAX_UNSYNCED_POSITIONS;
    assert_eq!(retried_after(Fault::PowerLoss).await, (skipped, skipped + 1));
}

#[tokio::test]
async fn loss_of_power_keeps_what_was_synced_and_may_drop_what_was_logged() {
    let disk = Faults::none();
    let store = open(&disk);
    let logged = |key: &[u8]| {
        let mut batch = batch();
        batch.put(RANGE, key, b"logged");
        batch
    };
    assert_eq!(store.commit_logged(logged(b"early")).await, Outcome::Committed(1));
    assert_eq!(put(&store, RANGE, b"synced", b"").await, 2);
    let syncs = disk.syncs();
    assert_eq!(store.commit_logged(logged(b"late")).await, Outcome::Committed(3));
    assert_eq!(disk.syncs(), syncs, "a logged batch waited for a sync");
    assert!(store.snapshot().contains(RANGE, b"late").unwrap());
    disk.lose_power();
    assert_eq!(store.stopped(), None);
    assert!(unknown(&store.commit(logged(b"too late")).await));
    assert!(
        store.stopped().is_some(),
        "whoever asks about the store's health is to learn that it takes no more writes"
    );
    drop(store);
    let store = open(&disk);
    let keys: Vec<_> = store.snapshot().scan_prefix(RANGE, b"").map(|row| row.unwrap().0).collect();
    // What is ahead of a synced batch in the log is synced with it.
    assert_eq!(keys, ["early", "synced"]);
    assert!(put(&store, RANGE, b"next", b"").await > 3, "position 3 was announced and lost: nobody else may get it");
    // Ending the process without losing power loses nothing.
    assert!(store.commit_logged(logged(b"late")).await.position().is_some());
    drop(store);
    assert!(open(&disk).snapshot().contains(RANGE, b"late").unwrap());
}

#[tokio::test]
async fn what_was_logged_is_synced_soon() {
    let disk = Faults::none();
    let store = open(&disk);
    let mut logged = batch();
    logged.put(RANGE, b"k", b"");
    assert!(store.commit_logged(logged).await.position().is_some());
    let syncs = disk.syncs();
    while disk.syncs() == syncs {
        world().sleep(std::time::Duration::from_millis(10)).await;
    }
    disk.lose_power();
    drop(store);
    assert!(open(&disk).snapshot().contains(RANGE, b"k").unwrap());
}

#[tokio::test]
async fn announced_positions_stay_within_the_skip() {
    let disk = Faults::none();
    let store = open(&disk);
    let batches = (0..3 * limits::MAX_UNSYNCED_POSITIONS).map(|_| store.commit_logged(batch()));
    let outcomes = join_all(batches).await;
    let announced = outcomes.iter().filter_map(Outcome::position).max().unwrap();
    assert_eq!(announced, 3 * limits::MAX_UNSYNCED_POSITIONS);
    disk.lose_power();
    drop(store);
    let store = open(&disk);
    assert!(put(&store, POINT, b"k", b"").await > announced);
}

#[tokio::test]
async fn a_failed_read_is_an_error_and_never_absence() {
    let disk = Faults::none();
    let store = open(&disk);
    put(&store, RANGE, b"k", b"v").await;
    let snapshot = store.snapshot();
    disk.fail_reads(3);
    assert!(snapshot.get(RANGE, b"k").is_err());
    assert!(snapshot.multi_get(RANGE, &[b"k"]).is_err());
    let rows: Vec<_> = snapshot.scan_prefix(RANGE, b"").collect();
    assert!(matches!(rows[..], [Err(StorageError::Engine(_))]));
    assert_eq!(snapshot.get(RANGE, b"k").unwrap().unwrap(), "v");
    // A precondition that cannot be checked does not hold, nor fail.
    let mut write = batch();
    write.require_absent(RANGE, b"new").put(RANGE, b"new", b"");
    disk.fail_reads(1);
    assert!(unknown(&store.commit(write.clone()).await));
    assert!(!store.snapshot().contains(RANGE, b"new").unwrap());
    assert_eq!(committed(&store, write).await, 2);
    disk.fail_reads(1);
    assert!(store.log(0).is_err());
    disk.fail_reads(1);
    drop(store);
    assert!(Store::try_open_memory(&SCHEMA, world(), disk.clone()).is_err());
    assert_eq!(open(&disk).position(), 2);
}

#[tokio::test]
async fn many_writers_share_a_sync() {
    let disk = Faults::none();
    let store = open(&disk);
    let before = disk.syncs();
    let batches: Vec<Batch> = (0..500_u32)
        .map(|n| {
            let mut batch = batch();
            batch.class(Class::Synced).put(POINT, &n.to_be_bytes(), b"");
            batch
        })
        .collect();
    let outcomes = join_all(batches.into_iter().map(|batch| store.commit(batch))).await;
    assert!(outcomes.iter().all(|outcome| outcome.position().is_some()));
    let syncs = disk.syncs() - before;
    assert_eq!((store.statistics().syncs, store.statistics().position), (syncs, 500));
    assert!(syncs < 10, "500 writers needed {syncs} syncs");
}
