use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures::future::join_all;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use storage::{Options, Scan, Snapshot, Table};

use crate::common::{Disk, LAST, NEXT, POINT, RANGE, SCHEMA, TABLES, batch, committed, put};

pub async fn a_snapshot_stays_as_it_was(disk: &Disk) {
    let store = disk.open();
    put(&store, RANGE, b"a", b"1").await;
    put(&store, RANGE, b"b", b"1").await;
    let old = store.snapshot();
    assert_eq!(old.position(), 2);
    let mut change = batch();
    change.put(RANGE, b"a", b"2").delete(RANGE, b"b").put(RANGE, b"c", b"2");
    committed(&store, change).await;
    let mut clear = batch();
    clear.delete_range(RANGE, b"", b"");
    committed(&store, clear).await;
    assert_eq!(old.position(), 2);
    assert_eq!(old.get(RANGE, b"a").unwrap().unwrap(), "1");
    assert_eq!(old.multi_get(RANGE, &[b"c", b"b"]).unwrap(), [None, Some("1".into())]);
    assert_eq!(old.scan_prefix(RANGE, b"").count(), 2);
    assert_eq!(store.snapshot().scan_prefix(RANGE, b"").count(), 0);
    // It outlives the store's handles.
    drop(store);
    assert_eq!(old.get(RANGE, b"a").unwrap().unwrap(), "1");
}

fn keys(rows: impl Iterator<Item = Result<(Bytes, Bytes), storage::StorageError>>) -> String {
    rows.map(|row| String::from_utf8(row.unwrap().0.to_vec()).unwrap()).collect::<Vec<_>>().join(" ")
}

pub async fn scans_are_half_open_both_ways(disk: &Disk) {
    let store = disk.open();
    let mut fill = batch();
    for key in ["a", "b", "bb", "c", "d"] {
        fill.put(RANGE, key.as_bytes(), key.as_bytes());
    }
    committed(&store, fill).await;
    let snapshot = store.snapshot();
    let cases = [
        ("a", "d", "a b bb c"),
        ("a", "a", ""),
        ("b", "bb", "b"),
        ("ab", "bz", "b bb"),
        ("c", "a", ""),
        ("", "b", "a"),
        ("bb", "", "bb c d"),
        ("", "", "a b bb c d"),
        ("e", "", ""),
    ];
    for (start, end, expected) in cases {
        assert_eq!(keys(snapshot.scan(RANGE, start..end)), expected, "{start}..{end}");
        let reversed = expected.split_whitespace().rev().collect::<Vec<_>>().join(" ");
        assert_eq!(keys(snapshot.scan_rev(RANGE, start..end)), reversed, "{start}..{end} in reverse");
    }
    // A scan that has ended stays ended.
    let mut rows = snapshot.scan(RANGE, "d".."e");
    assert!(rows.next().is_some() && rows.next().is_none() && rows.next().is_none());
}

pub async fn prefixes_end_where_they_should(disk: &Disk) {
    let store = disk.open();
    let rows: [&[u8]; 7] = [b"\x01", b"\x01\xFF", b"\x01\xFF\xFF", b"\x02", b"\xFF", b"\xFF\xFF", b"\xFF\xFF\x01"];
    let mut fill = batch();
    for table in TABLES {
        for key in rows {
            fill.put(*table, key, b"");
        }
    }
    committed(&store, fill).await;
    let snapshot = store.snapshot();
    for table in TABLES {
        for prefix in [&b""[..], b"\x01", b"\x01\xFF", b"\xFF", b"\xFF\xFF", b"\x03"] {
            let expected: Vec<&[u8]> = rows.into_iter().filter(|key| key.starts_with(prefix)).collect();
            let found: Vec<_> = snapshot.scan_prefix(*table, prefix).map(|row| row.unwrap().0).collect();
            assert_eq!(found, expected);
            let mut found: Vec<_> = snapshot.scan_prefix_rev(*table, prefix).map(|row| row.unwrap().0).collect();
            found.reverse();
            assert_eq!(found, expected);
        }
    }
}

pub async fn tables_do_not_leak_into_each_other(disk: &Disk) {
    let store = disk.open();
    let mut fill = batch();
    for table in TABLES {
        fill.put(*table, b"", table.name.as_bytes()).put(*table, b"\xFF\xFF", table.name.as_bytes());
    }
    committed(&store, fill).await;
    for table in TABLES {
        let snapshot = store.snapshot();
        let forwards: Vec<_> = snapshot.scan(*table, b"".as_slice()..b"").map(Result::unwrap).collect();
        assert_eq!(forwards.len(), 2, "{}", table.name);
        assert!(forwards.iter().all(|(_, value)| value == table.name));
        assert_eq!(snapshot.scan_rev(*table, b"".as_slice()..b"").count(), 2);
    }
    let mut clear = batch();
    clear.delete_range(RANGE, b"", b"").delete_range(LAST, b"", b"");
    committed(&store, clear).await;
    let snapshot = store.snapshot();
    for (table, rows) in [(RANGE, 0), (NEXT, 2), (LAST, 0), (POINT, 2)] {
        assert_eq!(snapshot.scan_prefix(table, b"").count(), rows, "{}", table.name);
    }
    // The store's own tables are untouched by the range that ends the last of ours.
    assert_eq!(store.log(0).unwrap().count(), 2);
}

pub async fn multi_get_answers_in_order(disk: &Disk) {
    let store = disk.open();
    let mut fill = batch();
    for n in 0..50_u8 {
        fill.put(POINT, &[n], &[n, n]);
    }
    committed(&store, fill).await;
    let asked: Vec<Vec<u8>> = [7, 200, 3, 3, 49, 0, 255].into_iter().map(|n| vec![n]).collect();
    let answers = store.snapshot().multi_get(POINT, &asked).unwrap();
    let expected: Vec<Option<Bytes>> =
        [7, 200, 3, 3, 49, 0, 255].into_iter().map(|n| (n < 50).then(|| Bytes::from(vec![n, n]))).collect();
    assert_eq!(answers, expected);
    assert!(store.snapshot().multi_get::<&[u8]>(POINT, &[]).unwrap().is_empty());
}

pub async fn a_scan_can_be_moved_to_a_key(disk: &Disk) {
    let store = disk.open();
    let mut fill = batch();
    for n in (0..50_u8).step_by(2) {
        fill.put(RANGE, &[n], &[n]);
    }
    fill.put(NEXT, &[9], b"another table's");
    committed(&store, fill).await;
    let snapshot = store.snapshot();
    let next = |scan: &mut Scan<'_>| scan.next_with(|key, _| key[0]).map(Result::unwrap);
    for mut scan in [snapshot.scan(RANGE, &[10]..&[20]), snapshot.scan_rev(RANGE, &[10]..&[20])] {
        // Forwards and back, between rows and on one, before the range and behind it, and on after its end.
        for (key, expected) in
            [(13, Some(14)), (10, Some(10)), (18, Some(18)), (19, None), (0, Some(10)), (40, None), (15, Some(16))]
        {
            scan.seek(&[key]);
            assert_eq!(next(&mut scan), expected, "{key}");
        }
        assert_eq!(next(&mut scan), Some(18));
        assert_eq!(next(&mut scan), None);
        assert_eq!(next(&mut scan), None);
    }
    let mut nothing = snapshot.scan(RANGE, &[20]..&[10]);
    nothing.seek(&[15]);
    assert_eq!(next(&mut nothing), None);
}

pub async fn deleted_ranges_are_gone_and_can_be_filled_again(disk: &Disk) {
    let store = disk.open();
    let mut fill = batch();
    for n in 0..100_u8 {
        fill.put(RANGE, &[n], b"old");
    }
    committed(&store, fill).await;
    let mut clear = batch();
    clear.delete_range(RANGE, &[10], &[90]).delete_range(RANGE, &[95], &[5]);
    committed(&store, clear).await;
    put(&store, RANGE, &[50], b"new").await;
    let snapshot = store.snapshot();
    let left: Vec<_> = snapshot.scan_prefix(RANGE, b"").map(|row| row.unwrap().0[0]).collect();
    assert_eq!(left, (0..10).chain([50]).chain(90..100).collect::<Vec<u8>>());
    assert_eq!(snapshot.get(RANGE, &[9]).unwrap().unwrap(), "old");
    assert_eq!(snapshot.get(RANGE, &[10]).unwrap(), None);
    assert_eq!(snapshot.get(RANGE, &[50]).unwrap().unwrap(), "new");
    assert_eq!(snapshot.get(RANGE, &[90]).unwrap().unwrap(), "old");
    drop((snapshot, store));
    assert_eq!(disk.open().snapshot().scan_prefix(RANGE, b"").count(), 21);
}

type Model = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

fn compare(snapshot: &Snapshot, model: &Model, rng: &mut ChaCha12Rng) {
    for table in TABLES {
        let (start, end) = (random_key(rng), random_key(rng));
        let expected: Vec<_> = model
            .iter()
            .filter(|((id, key), _)| *id == table.id && *key >= start && (end.is_empty() || *key < end))
            .map(|((_, key), value)| (Bytes::from(key.clone()), Bytes::from(value.clone())))
            .collect();
        let found: Vec<_> = snapshot.scan(*table, &start..&end).map(Result::unwrap).collect();
        assert_eq!(found, expected);
        let mut reversed: Vec<_> = snapshot.scan_rev(*table, &start..&end).map(Result::unwrap).collect();
        reversed.reverse();
        assert_eq!(reversed, expected);
        assert_eq!(snapshot.get(*table, &start).unwrap().as_deref(), model.get(&(table.id, start)).map(Vec::as_slice));
    }
}

fn random_key(rng: &mut ChaCha12Rng) -> Vec<u8> {
    let length = rng.random_range(0..4);
    (0..length).map(|_| [0, 1, 0x7F, 0xFE, 0xFF][rng.random_range(0..5)]).collect()
}

pub async fn random_writes_read_like_a_sorted_map(disk: &Disk) {
    let mut rng = ChaCha12Rng::seed_from_u64(11);
    let mut model = Model::new();
    let mut kept: Vec<(Snapshot, Model)> = Vec::new();
    let mut store = disk.open();
    for round in 0..300_u32 {
        let mut random = batch();
        random.class(storage::Class::Logged);
        for _ in 0..rng.random_range(1..12) {
            let table: Table = TABLES[rng.random_range(0..TABLES.len())];
            let key = random_key(&mut rng);
            match rng.random_range(0..12) {
                0 => {
                    let end = random_key(&mut rng);
                    random.delete_range(table, &key, &end);
                    model.retain(|(id, other), _| *id != table.id || *other < key || !end.is_empty() && *other >= end);
                }
                1..4 => {
                    random.delete(table, &key);
                    model.remove(&(table.id, key));
                }
                _ => {
                    random.put(table, &key, &round.to_be_bytes());
                    model.insert((table.id, key), round.to_be_bytes().to_vec());
                }
            }
        }
        committed(&store, random).await;
        compare(&store.snapshot(), &model, &mut rng);
        if round % 50 == 17 {
            kept.push((store.snapshot(), model.clone()));
        }
        if round % 100 == 99 {
            for (snapshot, model) in kept.drain(..) {
                compare(&snapshot, &model, &mut rng);
            }
            drop(store);
            store = disk.open();
            compare(&store.snapshot(), &model, &mut rng);
        }
    }
}

pub async fn the_reader_pool_is_bounded(disk: &Disk) {
    let store = disk.open_with(&SCHEMA, Options { readers: 2, ..Options::default() }).unwrap();
    put(&store, POINT, b"k", b"v").await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let readers = (0..20).map(|_| {
        let (running, most) = (running.clone(), most.clone());
        store.read(move |snapshot| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let value = snapshot.get(POINT, b"k").unwrap();
            std::thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            value
        })
    });
    for value in join_all(readers).await {
        assert_eq!(value.unwrap(), "v");
    }
    assert!(most.load(Ordering::SeqCst) <= 2);
}
