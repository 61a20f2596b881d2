//! Our side: the room in a store, and resolving from there.

use super::room::{Case, Room};
use crate::timed;
use net::{RealOptions, World};
use services::error::Error;
use services::rooms::caches::Caches;
use services::rooms::reader::room_key;
use services::rooms::record::StoredEvent;
use services::rooms::standing::Standing;
use services::rooms::{RoomReader, auth_graph};
use services::tables;
use state_res::ids::{EventKey, RoomKey};
use state_res::pdu::Pdu;
use state_res::resolve::{Events, resolve as resolve_states};
use state_res::room_version::RoomVersion;
use state_res::tree::{self, NewNodes, NodeHash, Nodes, Root};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use storage::{Batch, Options, Outcome, Store};

/// Bytes of one batch.
const STEP: usize = 256 * 1024;

pub(crate) fn open(world: &World, folder: &Path) -> Store {
    let options = Options { sync: false, ..Options::default() };
    Store::open_rocksdb(folder, &tables::SCHEMA, world.clone(), options).unwrap()
}

pub(crate) fn caches() -> Arc<Caches> {
    Arc::new(Caches::default())
}

/// Writes the room's events, index and states; gives the roots of each case.
pub(crate) async fn store(world: &World, folder: &Path, room: &Room, cases: &[Case]) -> Vec<[Root; 2]> {
    let store = open(world, folder);
    let mut reader = RoomReader::new(store.snapshot(), room.key, caches(), 0);
    let mut batch = Batch::with_random_id(world);
    for pdu in &room.events {
        let key = pdu.key();
        batch.put(tables::PDUS, key.as_bytes(), StoredEvent::encode(room.key, pdu).bytes());
        batch.put(
            tables::STANDING,
            &room_key(room.key, key.as_bytes()),
            &Standing::outlier(pdu.depth(), false).encode(),
        );
        auth_graph::index(&mut batch, &mut reader, pdu).unwrap();
        if batch.encoded_len() >= STEP {
            commit(&store, std::mem::replace(&mut batch, Batch::with_random_id(world))).await;
        }
    }
    commit(&store, batch).await;

    let common: Vec<_> = cases[0]
        .common
        .iter()
        .map(|(place, event)| (state_res::ids::StateKeyId::of(&place.0, &place.1), room.events[*event].key()))
        .collect();
    let reader = RoomReader::new(store.snapshot(), room.key, caches(), 0);
    let (base, nodes) = tree::insert(&reader, Root::EMPTY, &common).unwrap();
    write_nodes(world, &store, room.key, nodes).await;
    let mut roots = Vec::new();
    for case in cases {
        let mut both = [Root::EMPTY; 2];
        for (root, changes) in both.iter_mut().zip(case.changes(&room.events)) {
            let reader = RoomReader::new(store.snapshot(), room.key, caches(), 0);
            let (changed, nodes) = tree::insert(&reader, base, &changes).unwrap();
            write_nodes(world, &store, room.key, nodes).await;
            *root = changed;
        }
        roots.push(both);
    }
    // As a room's past lies on disk, and lest the engine tidies up while the first reads are timed.
    for table in tables::ALL {
        store.compact(*table).await.unwrap();
    }
    roots
}

/// Resolves two states and commits the new nodes. Gives how long that took.
pub(crate) async fn resolve(
    world: &World,
    store: &Store,
    caches: &Arc<Caches>,
    room: &Room,
    roots: &[Root; 2],
    expected: Root,
) -> Duration {
    from_store(world, store, caches, room, expected, |reader| resolve_states(room.version, roots, reader).unwrap())
        .await
}

/// Resolves by `how`, which gives the root and its new nodes, and commits these. Gives how long both took.
pub(crate) async fn from_store(
    world: &World,
    store: &Store,
    caches: &Arc<Caches>,
    room: &Room,
    expected: Root,
    how: impl FnOnce(&RoomReader) -> (Root, NewNodes),
) -> Duration {
    let snapshot = store.snapshot();
    let ((root, nodes), reading) = timed(|| how(&RoomReader::new(snapshot, room.key, Arc::clone(caches), 0)));
    let start = world.monotonic();
    write_nodes(world, store, room.key, nodes).await;
    let writing = world.monotonic() - start;
    assert_eq!(root, expected, "the resolutions differ");
    reading + writing
}

/// The same without the index, and without writing.
pub(crate) fn walk(store: &Store, caches: &Arc<Caches>, room: &Room, roots: &[Root; 2], expected: Root) -> Duration {
    let snapshot = store.snapshot();
    let (resolved, time) = timed(|| {
        let reader = Unindexed(RoomReader::new(snapshot, room.key, Arc::clone(caches), 0));
        resolve_states(room.version, roots, &reader).unwrap()
    });
    assert_eq!(resolved.0, expected, "the resolutions differ");
    time
}

/// Prints by how many MiB this process, which does nothing else, grows when it resolves.
pub(crate) fn alone(arguments: &[String]) -> ExitCode {
    let [folder, version, room, roots @ ..] = arguments else { return ExitCode::from(2) };
    let key = |hex: &String| -> [u8; 16] {
        let digits = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        std::array::from_fn(digits)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let world = World::real(RealOptions::default()).unwrap();
    let store = open(&world, Path::new(folder));
    let version: RoomVersion = version.parse().unwrap();
    let roots: Vec<Root> = roots.iter().map(|root| Root::from_bytes(key(root))).collect();
    let reader = RoomReader::new(store.snapshot(), RoomKey::from_bytes(key(room)), caches(), 0);
    let before = status("VmRSS:");
    let (_, nodes) = resolve_states(version, &roots, &reader).unwrap();
    runtime.block_on(write_nodes(&world, &store, RoomKey::from_bytes(key(room)), nodes));
    println!("{:.2}", status("VmHWM:").saturating_sub(before) as f64 / 1024.0);
    ExitCode::SUCCESS
}

/// A line of what Linux says of this process, in KiB.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn write_nodes(world: &World, store: &Store, room: RoomKey, nodes: NewNodes) {
    let mut batch = Batch::with_random_id(world);
    for (hash, bytes) in nodes {
        batch.put(tables::NODES, &room_key(room, hash.as_bytes()), &bytes);
        if batch.encoded_len() >= STEP {
            commit(store, std::mem::replace(&mut batch, Batch::with_random_id(world))).await;
        }
    }
    if !batch.is_empty() {
        commit(store, batch).await;
    }
}

async fn commit(store: &Store, batch: Batch) {
    assert!(matches!(store.commit(batch).await, Outcome::Committed(_)));
}

/// A room of which nobody knows what cites what.
struct Unindexed(RoomReader);

impl Nodes for Unindexed {
    type Error = Error;
    type Bytes = bytes::Bytes;

    fn node(&self, hash: &NodeHash) -> Result<Option<bytes::Bytes>, Error> {
        self.0.node(hash)
    }
}

impl Events for Unindexed {
    type Error = Error;

    fn event(&self, key: EventKey) -> Result<Option<Pdu>, Error> {
        self.0.event(key)
    }

    fn is_rejected(&self, key: EventKey) -> Result<bool, Error> {
        self.0.is_rejected(key)
    }
}
