use futures::future::join_all;
use storage::{Batch, BatchId, Outcome, PositionedValue, StorageError, Topic, key, limits};

use crate::common::{APPEND, COLD, Disk, POINT, RANGE, TABLES, batch, committed, put};

pub async fn positions_are_dense_and_increasing(disk: &Disk) {
    let store = disk.open();
    assert_eq!(store.position(), 0);
    assert_eq!(put(&store, POINT, b"a", b"1").await, 1);
    let writers = (0..500_u32).map(|n| {
        let store = store.clone();
        async move { put(&store, POINT, &n.to_be_bytes(), b"x").await }
    });
    let mut positions = join_all(writers).await;
    positions.sort_unstable();
    assert_eq!(positions, (2..=501).collect::<Vec<_>>());
    // A conflict takes no position.
    let mut refused = batch();
    refused.require_absent(POINT, b"a").put(POINT, b"b", b"2");
    assert!(matches!(store.commit(refused).await, Outcome::Conflict(_)));
    assert_eq!(put(&store, POINT, b"b", b"2").await, 502);
    assert_eq!(store.position(), 502);
}

pub async fn a_batch_applies_whole_or_not_at_all(disk: &Disk) {
    let store = disk.open();
    let mut whole = batch();
    for table in TABLES {
        whole.put(*table, b"key", table.name.as_bytes());
    }
    committed(&store, whole).await;
    let snapshot = store.snapshot();
    for table in TABLES {
        assert_eq!(snapshot.get(*table, b"key").unwrap().unwrap(), table.name.as_bytes());
    }
    let mut refused = batch();
    refused.require_absent(POINT, b"other").require_absent(COLD, b"key");
    for table in TABLES {
        refused.delete(*table, b"key").put(*table, b"other", b"");
    }
    let Outcome::Conflict(at) = store.commit(refused).await else { panic!("not refused") };
    assert_eq!((at.table, &*at.key), (COLD, &b"key"[..]));
    let snapshot = store.snapshot();
    for table in TABLES {
        assert!(snapshot.contains(*table, b"key").unwrap());
        assert!(!snapshot.contains(*table, b"other").unwrap());
    }
}

pub async fn writes_apply_in_order(disk: &Disk) {
    let store = disk.open();
    let mut ordered = batch();
    ordered.put(RANGE, b"a", b"1").put(RANGE, b"b", b"1").put(RANGE, b"c", b"1");
    ordered.delete_range(RANGE, b"a", b"c").put(RANGE, b"b", b"2").delete(RANGE, b"c").put(RANGE, b"c", b"2");
    ordered.put(RANGE, b"d", b"1").delete(RANGE, b"d");
    committed(&store, ordered).await;
    let rows: Vec<_> = store.snapshot().scan_prefix(RANGE, b"").map(Result::unwrap).collect();
    assert_eq!(rows, [("b".into(), "2".into()), ("c".into(), "2".into())]);
}

pub async fn position_fills_marked_slots(disk: &Disk) {
    let store = disk.open();
    put(&store, POINT, b"before", b"").await;
    let mut marked = batch();
    let slotted = key::Writer::new().str("room").position_slot().u16(7).finish_positioned();
    marked.put_at_position(APPEND, slotted, PositionedValue::with_slot(vec![9; 20], 2).and_slot(12));
    marked.put_at_position(POINT, &b"plain"[..], key::Writer::new().position_slot().finish_positioned());
    let position = committed(&store, marked).await;
    assert_eq!(position, 2);
    let snapshot = store.snapshot();
    let expected = key::Writer::new().str("room").u64(position).u16(7).finish();
    let value = snapshot.get(APPEND, &expected).unwrap().unwrap();
    let filled = position.to_be_bytes();
    assert_eq!(*value, *[&[9, 9], &filled[..], &[9, 9], &filled].concat());
    assert_eq!(*snapshot.get(POINT, b"plain").unwrap().unwrap(), filled);
}

pub async fn limits_are_refused_and_change_nothing(disk: &Disk) {
    let store = disk.open();
    let value = |bytes: usize| vec![7; bytes];
    let mut refused: Vec<(&str, Batch)> = Vec::new();
    let mut add = |what, build: &dyn Fn(&mut Batch)| {
        let mut batch = batch();
        batch.put(POINT, b"first", b"");
        build(&mut batch);
        refused.push((what, batch));
    };
    add("value", &|batch| _ = batch.put(POINT, b"k", &value(limits::MAX_VALUE_BYTES + 1)));
    add("key", &|batch| _ = batch.put(POINT, &value(limits::MAX_KEY_BYTES + 1), b""));
    add("key of a delete", &|batch| _ = batch.delete(POINT, &value(limits::MAX_KEY_BYTES + 1)));
    add("end of a range", &|batch| _ = batch.delete_range(POINT, b"", &value(limits::MAX_KEY_BYTES + 1)));
    add("precondition", &|batch| _ = batch.require_absent(POINT, &value(limits::MAX_KEY_BYTES + 1)));
    add("batch", &|batch| {
        for n in 0..5_u8 {
            batch.put(POINT, &[n], &value(limits::MAX_BATCH_BYTES / 5));
        }
    });
    add("topics", &|batch| {
        for n in 0..=limits::MAX_TOPICS {
            batch.topic(Topic::of("n", &n.to_be_bytes()));
        }
    });
    add("slot", &|batch| _ = batch.put_at_position(POINT, &b"k"[..], PositionedValue::with_slot(value(8), 1)));
    add("cursor", &|batch| _ = batch.set_cursor(&"x".repeat(limits::MAX_NAME_BYTES + 1), 1));
    for (what, batch) in refused {
        let outcome = store.commit(batch).await;
        let Outcome::Unknown(error @ StorageError::Invalid(_)) = outcome else { panic!("{what}: {outcome:?}") };
        assert!(error.certainly_not_applied());
    }
    assert_eq!(store.position(), 0);
    assert!(!store.snapshot().contains(POINT, b"first").unwrap());

    // The limits themselves are allowed.
    let mut biggest = batch();
    biggest.put(COLD, &value(limits::MAX_KEY_BYTES), &value(limits::MAX_VALUE_BYTES));
    let rest = limits::MAX_BATCH_BYTES - biggest.encoded_len() - 16;
    biggest.put(COLD, b"rest", &value(rest));
    assert!(biggest.encoded_len() <= limits::MAX_BATCH_BYTES);
    committed(&store, biggest).await;
    assert_eq!(store.snapshot().get(COLD, b"rest").unwrap().unwrap().len(), rest);
}

pub async fn unknown_and_reserved_tables_are_refused(disk: &Disk) {
    let store = disk.open();
    for id in [0, 77, 0xF0, 0xF1, 0xFF] {
        let mut refused = batch();
        refused.put(storage::Table { id, ..POINT }, b"position", b"");
        let outcome = store.commit(refused).await;
        assert!(matches!(outcome, Outcome::Unknown(StorageError::Invalid(_))), "{id}: {outcome:?}");
        let mut refused = batch();
        refused.require_absent(storage::Table { id, ..POINT }, b"position").put(POINT, b"k", b"");
        if id < 0xF0 {
            assert!(matches!(store.commit(refused).await, Outcome::Unknown(StorageError::Invalid(_))));
        }
    }
    assert_eq!(store.position(), 0);
}

pub async fn an_empty_batch_takes_a_position(disk: &Disk) {
    let store = disk.open();
    let empty = batch();
    assert!(empty.is_empty());
    assert_eq!(committed(&store, empty).await, 1);
    assert_eq!(store.position(), 1);
}

pub async fn a_decoded_batch_does_what_the_original_would(disk: &Disk) {
    let store = disk.open();
    put(&store, RANGE, b"m", b"old").await;
    let mut original = Batch::new(BatchId::of("test", b"decoded"));
    original
        .made_at(1)
        .require_version(RANGE, b"m", storage::Version::of(b"old"))
        .require_absent(RANGE, b"n")
        .delete_range(RANGE, b"l", b"")
        .put_at_position(APPEND, key::Writer::new().position_slot().finish_positioned(), b"v")
        .put(RANGE, b"n", b"new")
        .delete(RANGE, b"k")
        .topic(Topic::of("t", b"1"))
        .set_cursor("reader", 1);
    let decoded = Batch::decode(&original.encode()).unwrap();
    assert_eq!(decoded.encode(), original.encode());
    assert_eq!(decoded.encoded_len(), original.encode().len());
    assert_eq!(committed(&store, decoded).await, 2);
    // The same id: answered, not applied again.
    assert_eq!(committed(&store, original).await, 2);
    let snapshot = store.snapshot();
    assert!(!snapshot.contains(RANGE, b"m").unwrap());
    assert!(snapshot.contains(RANGE, b"n").unwrap());
    assert!(snapshot.contains(APPEND, &2_u64.to_be_bytes()).unwrap());
    assert_eq!(store.cursor("reader").unwrap(), Some(1));
    let entry = store.log(1).unwrap().next().unwrap().unwrap();
    assert_eq!(entry.topics, [Topic::of("t", b"1")]);
}
