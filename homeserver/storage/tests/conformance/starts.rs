use futures::{FutureExt, future::join_all};
use storage::{Options, Outcome, Schema, StorageError, Table};

use crate::common::{COLD, Disk, POINT, RANGE, SCHEMA, TABLES, batch, committed, put};

pub async fn everything_is_there_after_a_restart(disk: &Disk) {
    let store = disk.open();
    for round in 0..5_u8 {
        let mut write = batch();
        for table in TABLES {
            write.put(*table, &[round], &vec![round; 10_000]);
        }
        committed(&store, write).await;
    }
    drop(store);
    // Twice, as opening writes too.
    drop(check(disk.open(), 5));
    let store = check(disk.open(), 5);
    assert_eq!(put(&store, POINT, b"next", b"").await, 6);
}

fn check(store: storage::Store, rounds: u8) -> storage::Store {
    assert_eq!(store.position(), u64::from(rounds));
    for round in 0..rounds {
        for table in TABLES {
            assert_eq!(store.snapshot().get(*table, &[round]).unwrap().unwrap(), vec![round; 10_000]);
        }
    }
    store
}

pub async fn incarnation_names_the_log(disk: &Disk) {
    let store = disk.open();
    let first = store.incarnation();
    put(&store, POINT, b"k", b"").await;
    drop(store);
    let store = disk.open();
    assert_eq!(store.incarnation(), first);
    drop(store);
    let store = disk.open_with(&SCHEMA, Options { restored: true, ..Options::default() }).unwrap();
    let second = store.incarnation();
    assert_ne!(second, first);
    assert_eq!(store.position(), 1);
    drop(store);
    assert_eq!(disk.open().incarnation(), second);
}

pub async fn schema_versions_are_checked(disk: &Disk) {
    static NEWER: Schema = Schema { version: 4, oldest: 2, tables: TABLES };
    let store = disk.open();
    assert_eq!(store.stored_schema_version(), 3);
    put(&store, RANGE, b"k", b"v").await;
    drop(store);
    // A newer program finds out what there is to migrate, and says when it has done so.
    let store = disk.open_with(&NEWER, Options::default()).unwrap();
    assert_eq!(store.stored_schema_version(), 3);
    drop(store);
    let store = disk.open_with(&NEWER, Options::default()).unwrap();
    assert_eq!(store.stored_schema_version(), 3);
    let mut migrate = batch();
    migrate.put(RANGE, b"k", b"migrated");
    store.set_schema_version(&mut migrate, 4);
    committed(&store, migrate).await;
    drop(store);
    let error = disk.open_with(&SCHEMA, Options::default()).unwrap_err();
    assert_eq!(error, StorageError::NewerSchema { stored: 4, known: 3 });
    assert_eq!(
        error.to_string(),
        "the data were written with schema version 4 and this program knows versions up to 3: use a newer program"
    );
    let store = disk.open_with(&NEWER, Options::default()).unwrap();
    assert_eq!(store.stored_schema_version(), 4);
    assert_eq!(store.snapshot().get(RANGE, b"k").unwrap().unwrap(), "migrated");
    drop(store);
    // One that no longer reads what was written says so, and changes nothing.
    static LATEST: Schema = Schema { version: 6, oldest: 5, tables: TABLES };
    let error = disk.open_with(&LATEST, Options::default()).unwrap_err();
    assert_eq!(error, StorageError::OlderSchema { stored: 4, oldest: 5 });
    assert!(error.to_string().contains("schema version 4 and this program reads versions from 5 on"), "{error}");
    assert_eq!(disk.open_with(&NEWER, Options::default()).unwrap().stored_schema_version(), 4);
}

pub async fn a_contradictory_schema_is_refused(disk: &Disk) {
    static TWICE: Schema = Schema { version: 1, oldest: 1, tables: &[POINT, Table { id: POINT.id, ..COLD }] };
    static RESERVED: Schema = Schema { version: 1, oldest: 1, tables: &[Table { id: Table::MAX_ID + 1, ..COLD }] };
    for schema in [&TWICE, &RESERVED] {
        assert!(matches!(disk.open_with(schema, Options::default()), Err(StorageError::Schema(_))));
    }
}

pub async fn a_closing_store_answers(disk: &Disk) {
    let store = disk.open();
    let commits = (0..100_u8).map(|n| {
        let mut write = batch();
        write.put(POINT, &[n], b"");
        let store = store.clone();
        async move { store.commit(write).await }
    });
    // Handed over, and then nobody waits for them.
    let mut commits: Vec<_> = commits.map(Box::pin).collect();
    let answered = commits.iter_mut().filter_map(|commit| commit.now_or_never()).count();
    assert!(answered < 100);
    drop(commits);
    drop(store);
    let store = disk.open();
    assert_eq!(store.position(), 100);
    assert_eq!(store.snapshot().scan_prefix(POINT, b"").count(), 100);
    // And those that wait are answered.
    let commits = (0..100_u8).map(|n| {
        let mut write = batch();
        write.put(POINT, &[n], b"2");
        store.commit(write)
    });
    let outcomes = join_all(commits).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Committed(_))));
}
