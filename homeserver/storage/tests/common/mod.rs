//! What the tests of the store share: a schema, and both engines behind one face.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::path::PathBuf;

use net::{RealOptions, World};
use storage::{Access, Batch, Faults, Options, Outcome, Position, Schema, StorageError, Store, Table};

pub const POINT: Table = table(1, "POINT", Access::Point);
pub const RANGE: Table = table(2, "RANGE", Access::Range);
pub const NEXT: Table = table(3, "NEXT", Access::Range);
pub const APPEND: Table = table(4, "APPEND", Access::Append);
pub const COLD: Table = table(5, "COLD", Access::Cold);
pub const LAST: Table = table(Table::MAX_ID, "LAST", Access::Point);
pub const TABLES: &[Table] = &[POINT, RANGE, NEXT, APPEND, COLD, LAST];
pub static SCHEMA: Schema = Schema { version: 3, oldest: 2, tables: TABLES };

const fn table(id: u8, name: &'static str, access: Access) -> Table {
    Table { id, name, key: "bytes", value: "bytes", access }
}

/// A disk that outlives the stores opened on it.
pub enum Disk {
    Memory(Faults),
    Rocks(tempfile::TempDir),
}

impl Disk {
    pub fn memory() -> Self {
        Self::Memory(Faults::none())
    }

    pub fn rocks() -> Self {
        Self::Rocks(tempfile::tempdir().unwrap())
    }

    pub fn open(&self) -> Store {
        self.open_with(&SCHEMA, Options::default()).unwrap()
    }

    pub fn open_with(&self, schema: &'static Schema, options: Options) -> Result<Store, StorageError> {
        match self {
            Self::Memory(disk) => Store::open_memory_with(schema, world(), disk.clone(), options),
            Self::Rocks(folder) => Store::open_rocksdb(folder.path(), schema, world(), options),
        }
    }
}

pub fn world() -> World {
    World::real(RealOptions::default()).unwrap()
}

pub fn batch() -> Batch {
    Batch::with_random_id(&world_once())
}

/// One world for ids; making one is not free.
fn world_once() -> World {
    thread_local!(static WORLD: World = world());
    WORLD.with(Clone::clone)
}

pub async fn put(store: &Store, table: Table, key: &[u8], value: &[u8]) -> Position {
    let mut batch = batch();
    batch.put(table, key, value);
    committed(store, batch).await
}

pub async fn committed(store: &Store, batch: Batch) -> Position {
    match store.commit(batch).await {
        Outcome::Committed(position) => position,
        other => unreachable!("not committed: {other:?}"),
    }
}

/// This test binary, to be run again as another process.
pub fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}
