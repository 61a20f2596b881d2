use std::sync::Arc;

use futures::{FutureExt, future::join_all};
use storage::{Class, Topic};

use crate::common::{APPEND, Disk, POINT, batch, committed, put};

fn topic(n: u32) -> Topic {
    Topic::of("test", &n.to_be_bytes())
}

pub async fn only_subscribers_of_the_topic_wake(disk: &Disk) {
    let store = disk.open();
    let mut subscriptions: Vec<_> =
        (0..2000).map(|n| store.subscribe(&[topic(n), topic(n + 100_000), topic(n)])).collect();
    assert!(subscriptions.iter_mut().all(|subscription| subscription.changed().now_or_never().is_none()));
    let mut touching = batch();
    touching.put(POINT, b"k", b"").topic(topic(7)).topic(topic(100_009)).topic(topic(1_000_000));
    let position = committed(&store, touching).await;
    put(&store, POINT, b"other", b"").await;
    for (n, subscription) in subscriptions.iter_mut().enumerate() {
        let woken = subscription.changed().now_or_never();
        assert_eq!(woken, [7, 9].contains(&n).then_some(position), "{n}");
    }
    // Told once.
    assert!(subscriptions.iter_mut().all(|subscription| subscription.changed().now_or_never().is_none()));
    // What came in between is told as one.
    let mut last = 0;
    for _ in 0..3 {
        let mut touching = batch();
        touching.topic(topic(7));
        last = committed(&store, touching).await;
    }
    assert_eq!(subscriptions[7].changed().now_or_never(), Some(last));
    assert!(!subscriptions[7].has_changed());
}

pub async fn subscribing_then_reading_never_misses(disk: &Disk) {
    const ROWS: u64 = 2000;
    let store = disk.open();
    let writer = {
        let store = store.clone();
        async move {
            for n in 0..ROWS {
                let mut row = batch();
                row.class(Class::Logged).put(APPEND, &n.to_be_bytes(), b"").topic(topic(1));
                committed(&store, row).await;
            }
        }
    };
    // Readers that come and go, as long polls do: each waits only if its snapshot holds nothing new.
    let readers = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut seen = 0_u64;
            while seen < ROWS {
                let mut subscription = store.subscribe(&[topic(1)]);
                let snapshot = store.snapshot();
                let new = snapshot.scan(APPEND, &seen.to_be_bytes()[..]..&[]).count() as u64;
                if new == 0 {
                    let position = subscription.changed().await;
                    assert!(store.snapshot().position() >= position);
                }
                seen += new;
            }
            seen
        })
    });
    let readers = join_all(readers.collect::<Vec<_>>());
    let ((), seen) = futures::join!(writer, readers);
    assert!(seen.into_iter().all(|seen| seen.unwrap() == ROWS));
}

pub async fn what_a_snapshot_shows_has_been_touched(disk: &Disk) {
    let store = disk.open();
    let mut last = [0; 4];
    for n in 0..40_u32 {
        let which = n as usize * 7 % 3;
        let mut touching = batch();
        touching.put(POINT, b"k", &n.to_be_bytes()).topic(topic(which as u32));
        last[which] = committed(&store, touching).await;
        store.volatile().notify(topic(3));
        for (known, last) in (0..).map(topic).zip(last) {
            assert_eq!(store.untouched_since(known), last);
        }
    }
    // After a restart nobody knows which it was: all count as touched by the last.
    drop(store);
    let store = disk.open();
    for known in (0..4).map(topic) {
        assert!(store.untouched_since(known) >= last.into_iter().max().unwrap());
    }

    // Whoever sees a row knows that its topic was touched.
    const ROWS: u64 = 500;
    let began = store.position();
    let writer = async {
        for n in 0..ROWS {
            let mut row = batch();
            row.class(Class::Logged).put(APPEND, &n.to_be_bytes(), b"").topic(topic(9));
            committed(&store, row).await;
            tokio::task::yield_now().await;
        }
    };
    let reader = async {
        let mut seen = 0;
        while seen < ROWS {
            let snapshot = store.snapshot();
            let rows = snapshot.scan(APPEND, 0_u64.to_be_bytes()..ROWS.to_be_bytes()).count() as u64;
            assert!(store.untouched_since(topic(9)) >= began + rows, "{rows} rows");
            seen = rows;
            tokio::task::yield_now().await;
        }
    };
    futures::join!(writer, reader);
}

pub async fn a_volatile_notification_writes_nothing(disk: &Disk) {
    let store = disk.open();
    put(&store, POINT, b"k", b"").await;
    let mut typing = store.subscribe(&[topic(1)]);
    let mut other = store.subscribe(&[topic(2)]);
    store.volatile().notify(topic(1));
    assert_eq!(typing.changed().now_or_never(), Some(1));
    assert!(typing.changed().now_or_never().is_none());
    assert!(other.changed().now_or_never().is_none());
    assert_eq!(store.position(), 1);
    assert_eq!(store.log(0).unwrap().count(), 1);
}

pub async fn leaving_takes_nobody_else_along(disk: &Disk) {
    let store = disk.open();
    // All in one topic and some in others; every other one leaves, from different places of the list.
    let mut subscriptions: Vec<_> = (0..500).map(|n| Some(store.subscribe(&[topic(0), topic(1 + n % 3)]))).collect();
    for n in (0..500).filter(|n| n % 2 == 0) {
        subscriptions[(n * 7) % 500] = None;
    }
    let mut newcomer = store.subscribe(&[topic(0)]);
    let mut touching = batch();
    touching.topic(topic(0));
    let position = committed(&store, touching).await;
    assert_eq!(newcomer.changed().now_or_never(), Some(position));
    let left = subscriptions.iter_mut().flatten().map(|subscription| subscription.changed().now_or_never());
    let woken: Vec<_> = left.collect();
    assert_eq!(woken, vec![Some(position); 250]);
    let mut touching = batch();
    touching.topic(topic(2));
    let position = committed(&store, touching).await;
    for (n, subscription) in subscriptions.iter_mut().enumerate() {
        let Some(subscription) = subscription else { continue };
        assert_eq!(subscription.changed().now_or_never(), (n % 3 == 1).then_some(position));
    }
}

pub async fn a_wake_comes_after_the_snapshot(disk: &Disk) {
    let store = Arc::new(disk.open());
    let mut subscription = store.subscribe(&[topic(5)]);
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move {
            let position = subscription.changed().await;
            (position, store.snapshot())
        })
    };
    let mut touching = batch();
    touching.put(POINT, b"k", b"v").topic(topic(5));
    let committed_at = committed(&store, touching).await;
    let (position, snapshot) = waiting.await.unwrap();
    assert_eq!(position, committed_at);
    assert!(snapshot.contains(POINT, b"k").unwrap());
}
