#![allow(clippy::unwrap_used, missing_docs)]
use net::{RealOptions, World};
use storage::*;
const T: Table = Table { id: 1, name: "T", key: "", value: "", access: Access::Point };
static SCHEMA: Schema = Schema { version: 1, tables: &[T] };
#[tokio::test]
async fn smoke() {
    let world = World::real(RealOptions::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let a = Store::open_memory(&SCHEMA, world.clone(), Faults::none());
    let b = Store::open_rocksdb(dir.path(), &SCHEMA, world.clone(), Options::default()).unwrap();
    for store in [a, b] {
        let mut sub = store.subscribe(&[Topic::of("room", b"x")]);
        let mut batch = Batch::with_random_id(&world);
        batch.put(T, b"k", b"v").require_absent(T, b"k").topic(Topic::of("room", b"x"));
        assert_eq!(store.commit(batch.clone()).await, Outcome::Committed(1));
        assert_eq!(store.commit(batch).await, Outcome::Committed(1));
        assert_eq!(sub.changed().await, 1);
        assert_eq!(store.snapshot().get(T, b"k").unwrap().unwrap(), &b"v"[..]);
        assert_eq!(store.log(0).unwrap().count(), 1);
    }
    let b = Store::open_rocksdb(dir.path(), &SCHEMA, world.clone(), Options::default()).unwrap();
    assert_eq!(b.position(), 1);
}
