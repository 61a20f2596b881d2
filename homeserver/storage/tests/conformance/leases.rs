use std::time::Duration;

use storage::Outcome;

use crate::common::{Disk, POINT, batch, committed};

const HOUR: Duration = Duration::from_secs(3600);

pub async fn one_holder_at_a_time(disk: &Disk) {
    let store = disk.open();
    let leases = store.leases();
    let first = leases.acquire("push", "node a", HOUR).await.unwrap().unwrap();
    assert_eq!(leases.acquire("push", "node b", HOUR).await.unwrap(), None);
    let other = leases.acquire("search", "node b", HOUR).await.unwrap().unwrap();
    assert_eq!(other.fence, 1);
    // Its own holder may take it again, after a restart for instance; the fence moves on.
    drop((leases, store));
    let store = disk.open();
    assert_eq!(store.leases().acquire("push", "node b", HOUR).await.unwrap(), None);
    let again = store.leases().acquire("push", "node a", HOUR).await.unwrap().unwrap();
    assert!(again.fence > first.fence);
    // Of many who try at once, one succeeds.
    let tries = (0..20).map(|n| {
        let leases = store.leases();
        async move { leases.acquire("free", &format!("node {n}"), HOUR).await.unwrap() }
    });
    let holders = futures::future::join_all(tries).await.into_iter().flatten().count();
    assert_eq!(holders, 1);
}

pub async fn an_old_fence_is_refused(disk: &Disk) {
    let store = disk.open();
    let leases = store.leases();
    // It runs out at once.
    let old = leases.acquire("push", "node a", Duration::ZERO).await.unwrap().unwrap();
    let act = |lease: &storage::Lease| {
        let mut batch = batch();
        batch.require(&lease.precondition()).put(POINT, b"acted", &lease.fence.to_be_bytes());
        batch
    };
    committed(&store, act(&old)).await;
    let new = leases.acquire("push", "node b", HOUR).await.unwrap().unwrap();
    assert!(new.fence > old.fence);
    assert!(matches!(store.commit(act(&old)).await, Outcome::Conflict(_)));
    committed(&store, act(&new)).await;
    assert!(!leases.renew(&old, HOUR).await.unwrap());
    leases.release(&old).await.unwrap();
    committed(&store, act(&new)).await;
    assert_eq!(leases.acquire("push", "node a", HOUR).await.unwrap(), None);
}

pub async fn renewing_and_releasing(disk: &Disk) {
    let store = disk.open();
    let leases = store.leases();
    let lease = leases.acquire("push", "node a", Duration::ZERO).await.unwrap().unwrap();
    assert!(leases.renew(&lease, HOUR).await.unwrap());
    // Renewing does not invalidate batches that were prepared before.
    let mut prepared = batch();
    prepared.require(&lease.precondition()).put(POINT, b"k", b"");
    assert!(leases.renew(&lease, HOUR).await.unwrap());
    committed(&store, prepared).await;
    assert_eq!(leases.acquire("push", "node b", HOUR).await.unwrap(), None);
    leases.release(&lease).await.unwrap();
    let next = leases.acquire("push", "node b", HOUR).await.unwrap().unwrap();
    assert_eq!(next.fence, lease.fence + 1);
    assert!(leases.acquire(&"x".repeat(10_000), "node", HOUR).await.is_err());
}
