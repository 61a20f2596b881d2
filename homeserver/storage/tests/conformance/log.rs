use futures::future::join_all;
use storage::{Class, Options, StorageError, Store, Topic, limits};

use crate::common::{Disk, POINT, SCHEMA, batch, committed};

pub async fn the_log_tells_what_was_committed(disk: &Disk) {
    let store = disk.open();
    let mut expected = Vec::new();
    for n in 0..600_u32 {
        let mut batch = batch();
        batch.class(Class::Logged).put(POINT, b"k", &n.to_be_bytes());
        for topic in 0..n % 3 {
            batch.topic(Topic::of("t", &topic.to_be_bytes()));
        }
        let topics = n % 3;
        let id = batch.id();
        expected.push((committed(&store, batch).await, id, topics as usize));
    }
    let log = store.log(0).unwrap();
    assert_eq!(log.end(), 600);
    let found: Vec<_> =
        log.map(Result::unwrap).map(|entry| (entry.position, entry.batch, entry.topics.len())).collect();
    assert_eq!(found, expected);
    assert_eq!(store.log(598).unwrap().map(|entry| entry.unwrap().position).collect::<Vec<_>>(), [599, 600]);
    assert_eq!(store.log(600).unwrap().count(), 0);
    assert_eq!(store.log(u64::MAX).unwrap().count(), 0);
}

pub async fn cursors_are_durable(disk: &Disk) {
    let store = disk.open();
    assert_eq!(store.cursor("push").unwrap(), None);
    let mut work = batch();
    work.put(POINT, b"done", b"").set_cursor("push", 41).set_cursor("search", 7);
    committed(&store, work).await;
    let mut work = batch();
    work.set_cursor("push", 42).remove_cursor("search");
    committed(&store, work).await;
    drop(store);
    let store = disk.open();
    assert_eq!(store.cursor("push").unwrap(), Some(42));
    assert_eq!(store.cursor("search").unwrap(), None);
    assert_eq!(store.snapshot().cursor("push").unwrap(), Some(42));
}

async fn fill(store: &Store, positions: u64) {
    let batches = (0..positions).map(|_| {
        let mut batch = batch();
        batch.class(Class::Logged);
        store.commit(batch)
    });
    for outcome in join_all(batches).await {
        assert!(outcome.position().is_some());
    }
}

pub async fn the_log_is_trimmed_but_not_before_its_readers(disk: &Disk) {
    let options = Options { log_retention: 1, ..Options::default() };
    let store = disk.open_with(&SCHEMA, options.clone()).unwrap();
    // Ids are remembered through the log, so that this much always stays.
    let kept = limits::REMEMBERED_POSITIONS;
    let mut reader = batch();
    reader.set_cursor("slow", 10);
    committed(&store, reader).await;
    fill(&store, kept + 2 * limits::TRIM_STEP).await;
    fill(&store, limits::TRIM_CHECK).await;
    assert_eq!(store.log(10).unwrap().next().unwrap().unwrap().position, 11);
    let mut reader = batch();
    reader.set_cursor("slow", limits::TRIM_STEP + 100);
    committed(&store, reader).await;
    fill(&store, limits::TRIM_CHECK).await;
    fill(&store, 1).await;
    let error = store.log(limits::TRIM_STEP).err().unwrap();
    let trimmed = limits::TRIM_STEP + 100;
    assert_eq!(error, StorageError::Trimmed { after: limits::TRIM_STEP, trimmed });
    let rest = store.position() - trimmed;
    assert_eq!(store.log(trimmed).unwrap().count() as u64, rest);
    drop(store);
    let store = disk.open_with(&SCHEMA, options).unwrap();
    assert!(store.log(0).is_err());
    assert_eq!(store.log(trimmed).unwrap().count() as u64, rest);
}
