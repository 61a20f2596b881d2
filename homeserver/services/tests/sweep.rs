//! Sweeping beside writers, held against plain maps: whatever is still referred to is whole, and nothing else is left.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod scaffold;

use net::simulated::Simulation;
use net::{RealOptions, World};
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::sample::Index;
use scaffold::{SERVER, rooms};
use serde_json::{Map, Value, json};
use services::rooms::history::HistoryKey;
use services::rooms::standing::Fate;
use services::rooms::sweep::Epoch;
use services::rooms::{NewEvent, RoomWriter, Rooms};
use services::tables;
use state_res::build;
use state_res::ids::{EventKey, RoomKey, StateKeyId};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use state_res::tree::{self, MemoryNodes, NodeHash, Root};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use storage::{Batch, Fault, Faults, Options, Outcome, Store};

const ALICE: &str = "@alice:example.org";
const ROOM: &str = "!room:example.org";
/// Bytes of a step of a sweep, so that there are many.
const SMALL_STEP: usize = 600;
/// So few that most events have more rows than a step holds.
const SMALLER_STEP: usize = 150;

type State = BTreeMap<StateKeyId, EventKey>;

/// What a writer does.
#[derive(Debug, Clone)]
enum Op {
    /// Sets an entry of the current state.
    Set(u8, u8),
    Message,
    /// Adds an event to the state after another, with an entry of its own.
    Old(Index, u8),
    /// Adds an event to a state given as a whole: one that some event had, perhaps forgotten since, with another entry.
    Given(Index, Option<u8>),
    /// Takes the states of some events in a row out of use.
    Forget(Index, usize),
    /// Takes the current roots of the past out of use.
    ForgetRoots,
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<Index>;
    prop_oneof![
        3 => (0..4_u8, 0..40_u8).prop_map(|(kind, key)| Op::Set(kind, key)),
        1 => Just(Op::Message),
        2 => (index(), 0..40_u8).prop_map(|(at, key)| Op::Old(at, key)),
        4 => (index(), proptest::option::of(0..40_u8)).prop_map(|(at, key)| Op::Given(at, key)),
        3 => (index(), 1..30_usize).prop_map(|(at, count)| Op::Forget(at, count)),
        1 => Just(Op::ForgetRoots),
    ]
}

/// A room, and what its states ought to be.
struct Bench {
    rooms: Rooms,
    /// State before and after each event that was ever made.
    states: Mutex<HashMap<EventKey, (State, State)>>,
    /// Events in the order of their making, forgotten ones too.
    made: Mutex<Vec<(EventKey, String)>>,
    count: AtomicU64,
}

fn world() -> World {
    World::real(RealOptions::default()).unwrap()
}

impl Bench {
    async fn new(world: World, store: Store) -> Self {
        let bench = Self {
            rooms: rooms(store, world),
            states: Mutex::default(),
            made: Mutex::default(),
            count: AtomicU64::new(0),
        };
        let start = |writer: &mut RoomWriter<'_>| {
            let content = json!({ "room_version": "11" }).as_object().unwrap().clone();
            bench.send(writer, NewEvent::state(ALICE, "m.room.create", "", content))?;
            let content = json!({ "membership": "join" }).as_object().unwrap().clone();
            bench.send(writer, NewEvent::state(ALICE, "m.room.member", ALICE, content))
        };
        bench.rooms.write_new(ROOM, RoomVersion::V11, start).await.unwrap();
        for key in 0..40 {
            bench.run(Op::Set(0, key)).await.unwrap();
        }
        bench
    }

    /// The same room after a restart.
    fn reopened(self, store: Store) -> Self {
        Self { rooms: rooms(store, world()), ..self }
    }

    fn content(&self) -> Map<String, Value> {
        json!({ "n": self.count.fetch_add(1, Ordering::Relaxed) }).as_object().unwrap().clone()
    }

    fn entry(pdu: &Pdu) -> Option<(StateKeyId, EventKey)> {
        pdu.state_key().map(|key| (StateKeyId::of(pdu.event_type(), key), pdu.key()))
    }

    fn note(&self, pdu: &Pdu, before: State) {
        let mut after = before.clone();
        after.extend(Self::entry(pdu));
        self.states.lock().insert(pdu.key(), (before, after));
        self.made.lock().push((pdu.key(), pdu.event_id().to_owned()));
    }

    fn send(&self, writer: &mut RoomWriter<'_>, event: NewEvent) -> services::Result<()> {
        let before = match &writer.head.extremities[..] {
            [] => State::new(),
            [one] => self.states.lock()[&EventKey::of(&one.event_id)].1.clone(),
            many => panic!("{} extremities", many.len()),
        };
        let pdu = writer.send(event)?;
        self.note(&pdu, before);
        Ok(())
    }

    fn old_event(
        &self,
        writer: &mut RoomWriter<'_>,
        prev: &str,
        key: u8,
        before: (Root, State),
    ) -> services::Result<()> {
        let event = NewEvent::state(ALICE, "old", &key.to_string(), self.content());
        let (mut fields, _) = writer.fields(&event)?;
        fields.prev_events = vec![prev.to_owned()];
        let signing_key = scaffold::key();
        let pdu = build::build(RoomVersion::V11, fields, SERVER, &signing_key).unwrap();
        self.note(&pdu, before.1);
        let mut place = vec![0; 10];
        place.extend_from_slice(&self.count.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        writer.place_old(pdu, before.0, Fate::Accepted, HistoryKey::from_bytes(&place))
    }

    /// Any event made so far, the current extremity aside.
    fn any(&self, at: Index) -> (EventKey, String) {
        let made = self.made.lock();
        made[at.index(made.len())].clone()
    }

    async fn run(&self, op: Op) -> services::Result<()> {
        match op {
            Op::Set(kind, key) => {
                let event = NewEvent::state(ALICE, &format!("type{kind}"), &key.to_string(), self.content());
                self.rooms.write(ROOM, |writer| self.send(writer, event.clone())).await.map(drop)
            }
            Op::Message => {
                let event = NewEvent::message(ALICE, "m.room.message", self.content());
                self.rooms.write(ROOM, |writer| self.send(writer, event.clone())).await.map(drop)
            }
            Op::Old(at, key) => {
                let (event, id) = self.any(at);
                let work = |writer: &mut RoomWriter<'_>| {
                    let standing = writer.reader.standing(event)?.filter(|standing| !standing.is_outlier());
                    let Some(standing) = standing else { return Ok(()) };
                    let state = self.states.lock()[&event].1.clone();
                    self.old_event(writer, &id, key, (standing.after, state))
                };
                self.rooms.write(ROOM, work).await.map(drop)
            }
            Op::Given(at, key) => self.given(self.any(at), key).await,
            Op::Forget(at, count) => {
                let made = self.made.lock().clone();
                let start = at.index(made.len());
                let gone = &made[start..made.len().min(start + count)];
                self.forget(|_| {
                    let reader = self.rooms.reader(RoomKey::of(ROOM));
                    let extremities = reader.head().unwrap().unwrap().extremities;
                    let is_current = |id: &String| extremities.iter().any(|one| one.event_id == *id);
                    let gone = gone.iter().filter(|(_, id)| !is_current(id));
                    gone.map(|(event, _)| (tables::STANDING, row(event.as_bytes()))).collect()
                })
                .await
            }
            Op::ForgetRoots => {
                self.forget(|snapshot| {
                    let rows = snapshot.scan_prefix_rev(tables::ROOTS, RoomKey::of(ROOM).as_bytes());
                    rows.skip(1).map(|row| (tables::ROOTS, row.unwrap().0.to_vec())).collect()
                })
                .await
            }
        }
    }

    /// [`Op::Given`] with the state after `event`.
    async fn given(&self, (event, id): (EventKey, String), key: Option<u8>) -> services::Result<()> {
        let mut state = self.states.lock()[&event].1.clone();
        if let Some(key) = key {
            state.insert(StateKeyId::of("given", &key.to_string()), event);
        }
        let entries: Vec<_> = state.clone().into_iter().collect();
        let work = |writer: &mut RoomWriter<'_>| {
            // As when other servers tell a state: its events are there before it is.
            let stored = |event: &EventKey| writer.reader.snapshot().contains(tables::PDUS, event.as_bytes());
            if !state.values().all(|event| stored(event).unwrap()) {
                return Ok(());
            }
            let root = writer.root_of(&entries)?;
            self.old_event(writer, &id, key.unwrap_or_default(), (root, state.clone()))
        };
        self.rooms.write(ROOM, work).await.map(drop)
    }

    /// Deletes rows that hold roots, as the rules for this want it.
    async fn forget(
        &self,
        choose: impl Fn(&storage::Snapshot) -> Vec<(storage::Table, Vec<u8>)>,
    ) -> services::Result<()> {
        let store = &self.rooms.deps().store;
        let snapshot = store.snapshot();
        let epoch = Epoch::read(&snapshot, RoomKey::of(ROOM))?;
        if !epoch.lets_states_go() {
            return Ok(());
        }
        let mut batch = Batch::with_random_id(&self.rooms.deps().world);
        epoch.require(&mut batch);
        for (table, key) in choose(&snapshot) {
            batch.delete(table, &key);
        }
        match store.commit(batch).await {
            Outcome::Unknown(cause) => Err(cause.into()),
            Outcome::Committed(_) | Outcome::Conflict(_) => Ok(()),
        }
    }

    /// Reads everything that is referred to, past all caches.
    fn check(&self) -> BTreeSet<Root> {
        let fresh = rooms(self.rooms.deps().store.clone(), self.rooms.deps().world.clone());
        let reader = fresh.reader(RoomKey::of(ROOM));
        let states = self.states.lock();
        let mut roots = BTreeSet::new();
        let stored = |event: &EventKey| reader.pdu(*event).unwrap().expect("an event that is referred to");
        let mut same = |root: Root, state: &State| {
            state.values().for_each(|event| drop(stored(event)));
            let found: State = tree::entries(&reader, root).map(Result::unwrap).collect();
            assert_eq!(&found, state);
            roots.insert(root);
        };
        for row in reader.snapshot().scan_prefix(tables::STANDING, RoomKey::of(ROOM).as_bytes()) {
            let event = EventKey::from_bytes(row.unwrap().0[16..].try_into().unwrap());
            let standing = reader.standing(event).unwrap().unwrap();
            let pdu = stored(&event);
            let in_index = |rest: &[u8]| reader.snapshot().contains(tables::AUTH_GRAPH, &self::row(rest)).unwrap();
            assert!(!pdu.is_state() || in_index(event.as_bytes()), "the index has lost {pdu:?}");
            for id in pdu.auth_events() {
                let cited = EventKey::of(id);
                stored(&cited);
                let citing = [*cited.as_bytes(), *event.as_bytes()].concat();
                assert!(!pdu.is_state() || in_index(&citing), "the index has lost that {pdu:?} cites {id}");
            }
            if standing.is_outlier() {
                continue;
            }
            let (before, after) = &states[&event];
            same(standing.before, before);
            same(standing.after, after);
        }
        let head = reader.head().unwrap().unwrap();
        same(head.root, &states[&EventKey::of(&head.extremities[0].event_id)].1);
        for row in reader.snapshot().scan_prefix(tables::ROOTS, RoomKey::of(ROOM).as_bytes()) {
            let root = Root::from_bytes(row.unwrap().1.as_ref().try_into().unwrap());
            tree::entries(&reader, root).for_each(|entry| assert!(entry.is_ok()));
            roots.insert(root);
        }
        roots
    }

    /// After a sweep in peace: exactly the nodes are there that the states in use would have if they were built anew.
    async fn check_swept(&self) {
        let swept = self.rooms.sweep(ROOM).await.unwrap();
        assert_eq!((swept.events, swept.outliers), (0, 0));
        let snapshot = self.rooms.deps().store.snapshot();
        let reader = self.rooms.reader(RoomKey::of(ROOM));
        let mut expected = MemoryNodes::default();
        for root in self.check() {
            let state: Vec<_> = tree::entries(&reader, root).map(Result::unwrap).collect();
            let (built, nodes) = tree::insert(&expected, Root::EMPTY, &state).unwrap();
            assert_eq!(built, root);
            expected.extend(nodes);
        }
        let found: BTreeSet<NodeHash> = snapshot
            .scan_prefix(tables::NODES, RoomKey::of(ROOM).as_bytes())
            .map(|row| NodeHash::from_bytes(row.unwrap().0[16..].try_into().unwrap()))
            .collect();
        assert_eq!(found, expected.iter().map(|(hash, _)| *hash).collect());
        assert_eq!(swept.kept, found.len() as u64);
        assert_eq!(snapshot.scan_prefix(tables::CONDEMNED, b"").count(), 0);
        assert_eq!(snapshot.scan_prefix(tables::CONDEMNED_EVENTS, b"").count(), 0);
    }
}

fn row(rest: &[u8]) -> Vec<u8> {
    [RoomKey::of(ROOM).as_bytes(), rest].concat()
}

/// What several batches write is worth nothing once a sweep has come between them.
#[tokio::test]
async fn a_sweep_ends_the_epoch() {
    let store = Store::open_memory(&tables::SCHEMA, world(), Faults::none());
    let bench = Bench::new(world(), store.clone()).await;
    for _ in 0..2 {
        let epoch = Epoch::read(&store.snapshot(), RoomKey::of(ROOM)).unwrap();
        let step = || {
            let mut batch = Batch::with_random_id(&world());
            epoch.require(&mut batch);
            batch.put(tables::NODES, &row(&[1; 16]), b"litter");
            batch
        };
        assert!(matches!(store.commit(step()).await, Outcome::Committed(_)));
        assert_eq!(bench.rooms.sweep(ROOM).await.unwrap().deleted, 1);
        assert!(matches!(store.commit(step()).await, Outcome::Conflict(_)));
    }
}

/// Writers, each in a task of its own, and a sweeper that never rests. With `purging` it also purges all history but the newest event.
async fn together(world: World, store: Store, writers: Vec<Vec<Op>>, purging: Option<usize>) {
    let bench = Arc::new(Bench::new(world.clone(), store).await);
    let done = Arc::new(AtomicBool::new(false));
    let sweeper = {
        let (bench, done, clock) = (bench.clone(), done.clone(), world.clone());
        world.spawn("racer", async move {
            let mut deleted = 0;
            // Each begins by reading everything, and fails where something lacks.
            while !done.load(Ordering::Relaxed) {
                clock.sleep(Duration::from_millis(1)).await;
                let swept = match purging {
                    Some(step) => bench.rooms.purge_in_steps(ROOM, i64::MAX, step).await,
                    None => bench.rooms.sweep_in_steps(ROOM, SMALL_STEP).await,
                };
                deleted += swept.unwrap().deleted;
            }
            deleted
        })
    };
    let tasks: Vec<_> = writers
        .into_iter()
        .map(|ops| {
            let bench = bench.clone();
            world.spawn("racer", async move {
                for op in ops {
                    // What builds on something that is just being purged waits until that is done.
                    bench.run(op).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    sweeper.await.unwrap();
    bench.check_swept().await;
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

/// How many cases of purges are tried: `PURGES`, or 300.
fn purges() -> u32 {
    std::env::var("PURGES").ok().and_then(|count| count.parse().ok()).unwrap_or(300)
}

fn writers() -> impl Strategy<Value = Vec<Vec<Op>>> {
    proptest::collection::vec(proptest::collection::vec(op(), 0..40), 1..4)
}

proptest! {
    // Many, since what must not happen needs a writer to come between two steps.
    #![proptest_config(ProptestConfig { cases: purges(), max_shrink_iters: 64, ..ProptestConfig::default() })]

    /// Purges, with writers who go on from what is being purged.
    #[test]
    fn purges_beside_writers_in_a_simulation(seed in any::<u64>(), writers in writers()) {
        let simulation = Simulation::new(seed);
        let world = simulation.host(SERVER).world();
        let disk = Faults::none();
        disk.set_sync_time(Duration::from_millis(1));
        let store = Store::open_memory(&tables::SCHEMA, world.clone(), disk);
        let step = if seed % 4 == 0 { SMALLER_STEP } else { SMALL_STEP };
        simulation.run(together(world, store, writers, Some(step))).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn sweeps_beside_writers_in_memory(writers in writers()) {
        runtime().block_on(async {
            let world = world();
            let store = Store::open_memory(&tables::SCHEMA, world.clone(), Faults::none());
            together(world, store, writers, None).await;
        });
    }

    /// The same from a seed, so that a failure can be replayed.
    #[test]
    fn sweeps_beside_writers_in_a_simulation(seed in any::<u64>(), writers in writers()) {
        let simulation = Simulation::new(seed);
        let world = simulation.host(SERVER).world();
        let disk = Faults::none();
        disk.set_sync_time(Duration::from_millis(1));
        let store = Store::open_memory(&tables::SCHEMA, world.clone(), disk);
        simulation.run(together(world, store, writers, None)).unwrap();
    }

    /// A sweep that is cut off anywhere, with writers between the restart and the sweep that goes on.
    #[test]
    fn sweeps_cut_off_at_any_step(
        litter in proptest::collection::vec(op(), 30),
        between in proptest::collection::vec(proptest::collection::vec(op(), 0..6), 24),
    ) {
        runtime().block_on(async {
            let disk = Faults::none();
            let mut bench = Bench::new(world(), Store::open_memory(&tables::SCHEMA, world(), disk.clone())).await;
            for (nth, ops) in between.into_iter().enumerate() {
                for op in &litter {
                    bench.run(op.clone()).await.unwrap();
                }
                let fault = [Fault::NotApplied, Fault::Applied, Fault::PowerLoss][nth % 3];
                disk.fail_write(nth as u64 + 1, fault);
                if bench.rooms.sweep_in_steps(ROOM, SMALL_STEP).await.is_ok() {
                    // It had no such step.
                    break;
                }
                bench = bench.reopened(Store::open_memory(&tables::SCHEMA, world(), disk.clone()));
                bench.check();
                for op in ops {
                    bench.run(op).await.unwrap();
                }
                bench.check();
                bench.rooms.resume_sweeps().await.unwrap();
                bench.check_swept().await;
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 16, ..ProptestConfig::default() })]

    #[test]
    fn sweeps_beside_writers_on_rocksdb(writers in writers()) {
        runtime().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let options = Options { sync: false, ..Options::default() };
            let world = world();
            let store = Store::open_rocksdb(folder.path(), &tables::SCHEMA, world.clone(), options).unwrap();
            together(world, store, writers, None).await;
        });
    }
}

/// On disk, with everything between: what was sent before the cut is gone, with the states that only it had; what stays is whole; and
/// the space comes back.
#[test]
fn purging_gives_space_back() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { sync: false, ..Options::default() };
        let world = world();
        let store = Store::open_rocksdb(folder.path(), &tables::SCHEMA, world.clone(), options).unwrap();
        let bench = Bench::new(world.clone(), store.clone()).await;
        for nth in 0..600_u32 {
            bench
                .run(if nth % 3 == 0 { Op::Message } else { Op::Set((nth % 4) as u8, (nth % 40) as u8) })
                .await
                .unwrap();
        }
        world.sleep(Duration::from_millis(20)).await;
        let cut = world.now().millis() as i64;
        let before: Vec<EventKey> = bench.made.lock().iter().map(|(event, _)| *event).collect();
        world.sleep(Duration::from_millis(20)).await;
        for nth in 0..30_u8 {
            bench.run(if nth % 3 == 0 { Op::Message } else { Op::Set(nth % 4, nth) }).await.unwrap();
        }
        let room = RoomKey::of(ROOM);
        let count = |table| store.snapshot().scan_prefix(table, room.as_bytes()).count();
        let size = async || {
            let mut bytes = 0;
            for table in [tables::PDUS, tables::NODES, tables::STANDING] {
                store.compact(table).await.unwrap();
                bytes += store.disk_bytes(table);
            }
            bytes
        };
        let (nodes, bytes) = (count(tables::NODES), size().await);

        let reader = bench.rooms.reader(room);
        let needed: BTreeSet<EventKey> = {
            let oldest = bench.made.lock()[before.len()].0;
            let mut open = reader.state(reader.standing(oldest).unwrap().unwrap().before).unwrap();
            let mut needed: BTreeSet<EventKey> = BTreeSet::new();
            while let Some(event) = open.pop() {
                if needed.insert(event) {
                    open.extend(reader.pdu(event).unwrap().unwrap().auth_events().iter().map(|id| EventKey::of(id)));
                }
            }
            needed
        };
        let oldest = bench.made.lock()[before.len()].0;
        assert!(!services::rooms::timeline::has_gap_before(&reader, oldest).unwrap());
        // As long as somebody reads the past, it takes its space.
        drop(reader);
        let purged = bench.rooms.purge_history(ROOM, cut).await.unwrap();
        assert_eq!(purged.outliers as usize, needed.len());
        assert_eq!((purged.events + purged.outliers) as usize, before.len());
        bench.check();
        bench.check_swept().await;

        // Also for who had looked before.
        assert!(services::rooms::timeline::has_gap_before(&bench.rooms.reader(room), oldest).unwrap());
        let fresh = rooms(store.clone(), world.clone());
        let reader = fresh.reader(room);
        for event in before {
            assert_eq!(reader.pdu(event).unwrap().is_some(), needed.contains(&event));
            assert!(reader.standing(event).unwrap().is_none_or(|standing| standing.is_outlier()));
        }
        let (oldest, _) = bench.made.lock()[purged.events as usize + purged.outliers as usize].clone();
        assert!(services::rooms::timeline::has_gap_before(&reader, oldest).unwrap());
        assert_eq!((count(tables::TIMELINE), count(tables::HISTORY)), (30, 30));
        assert!(count(tables::NODES) * 4 < nodes, "{} of {nodes} nodes are left", count(tables::NODES));
        let left = size().await;
        assert!(left * 3 < bytes, "{left} of {bytes} bytes are left on disk");
        // The room lives on, and a second purge takes what the first had to keep.
        for key in 0..40 {
            bench.run(Op::Set(0, key)).await.unwrap();
        }
        let again = bench.rooms.purge_history(ROOM, i64::MAX).await.unwrap();
        assert!(again.events > 40, "{again:?}");
        bench.check();
        bench.check_swept().await;
    });
}

/// What other servers gave back of a past that was let go lies behind what was sent before it came. That it is old says nothing of those.
#[test]
fn an_old_event_of_ours_behind_newer_ones_lets_none_of_them_go() {
    runtime().block_on(async {
        let world = world();
        let store = Store::open_memory(&tables::SCHEMA, world.clone(), storage::Faults::none());
        let bench = Bench::new(world, store).await;
        let made: Vec<(EventKey, String)> = bench.made.lock().clone();
        let fetched_again = |writer: &mut RoomWriter<'_>| {
            let [(left, id), (right, _)] = [&made[made.len() - 3], &made[made.len() - 2]];
            let [left, right] = [left, right].map(|event| writer.reader.standing(*event).unwrap().unwrap());
            let place = HistoryKey::between(left.history.as_ref(), right.history.as_ref().unwrap(), 1).remove(0);
            let (mut fields, _) = writer.fields(&NewEvent::message(ALICE, "m.room.message", bench.content()))?;
            (fields.prev_events, fields.origin_server_ts) = (vec![id.clone()], 1);
            let pdu = build::build(RoomVersion::V11, fields, SERVER, &scaffold::key()).unwrap();
            writer.place_old(pdu, left.after, Fate::Accepted, place)
        };
        bench.rooms.write(ROOM, fetched_again).await.unwrap();
        let purged = bench.rooms.purge_history(ROOM, 1000).await.unwrap();
        assert_eq!((purged.events, purged.outliers), (0, 0));
        let reader = bench.rooms.reader(RoomKey::of(ROOM));
        assert!(made.iter().all(|(event, _)| !reader.standing(*event).unwrap().unwrap().is_outlier()));
    });
}

/// An event to which so much relates that its rows go in several steps. Whoever comes between two of them and names it finds it there still, but
/// could not get back what is gone.
#[test]
fn nobody_keeps_an_event_of_which_rows_are_gone() {
    const RELATED: usize = 60;
    let simulation = Simulation::new(5);
    let world = simulation.host(SERVER).world();
    let disk = Faults::none();
    disk.set_sync_time(Duration::from_millis(1));
    let store = Store::open_memory(&tables::SCHEMA, world.clone(), disk);
    let run = simulation.run(async {
        let bench = Arc::new(Bench::new(world.clone(), store.clone()).await);
        bench.run(Op::Set(1, 0)).await.unwrap();
        let old = bench.made.lock().last().unwrap().clone();
        for _ in 0..RELATED {
            let mut content = bench.content();
            content.insert("m.relates_to".into(), json!({ "rel_type": "m.reference", "event_id": old.1 }));
            let event = NewEvent::message(ALICE, "m.room.message", content);
            bench.rooms.write(ROOM, |writer| bench.send(writer, event.clone())).await.unwrap();
        }
        // No state that stays names it any more.
        bench.run(Op::Set(1, 0)).await.unwrap();
        bench.run(Op::Message).await.unwrap();
        let related = || store.snapshot().scan_prefix(tables::RELATIONS, old.0.as_bytes()).count();
        assert_eq!(related(), RELATED);
        let place = bench.rooms.reader(RoomKey::of(ROOM)).standing(old.0).unwrap().unwrap().history.unwrap();
        let has_its_place = || store.snapshot().contains(tables::HISTORY, &row(place.as_bytes())).unwrap();
        let purge = {
            let bench = bench.clone();
            world.spawn("purge", async move { bench.rooms.purge_in_steps(ROOM, i64::MAX, SMALLER_STEP).await })
        };
        // More often than anything can be written.
        while has_its_place() {
            world.sleep(Duration::from_micros(100)).await;
        }
        assert!(related() > 0 && store.snapshot().contains(tables::PDUS, old.0.as_bytes()).unwrap());
        bench.given(old, Some(0)).await.unwrap();
        purge.await.unwrap().unwrap();
        bench.check();
        bench.check_swept().await;
    });
    run.unwrap();
}

/// What another server tells of a big room is more than a batch can hold; most of it is there already.
#[test]
fn a_state_bigger_than_a_batch_can_be_given() {
    runtime().block_on(async {
        let world = world();
        let store = Store::open_memory(&tables::SCHEMA, world.clone(), Faults::none());
        let bench = Bench::new(world, store.clone()).await;
        let (event, id) = bench.made.lock().last().unwrap().clone();
        let entries = |count: u32| -> Vec<_> {
            (0..count).map(|key| (StateKeyId::of("given", &key.to_string()), event)).collect()
        };
        let give = async |count: u32| {
            let entries = entries(count);
            let work = |writer: &mut RoomWriter<'_>| {
                let root = writer.root_of(&entries)?;
                bench.old_event(writer, &id, 0, (root, entries.iter().copied().collect()))
            };
            bench.rooms.write(ROOM, work).await
        };
        for count in (1_500..=45_000).step_by(1_500).chain([45_001, 44_000]) {
            give(count).await.unwrap();
        }
        let snapshot = store.snapshot();
        let nodes = snapshot.scan_prefix(tables::NODES, RoomKey::of(ROOM).as_bytes());
        let bytes: usize = nodes.map(|row| row.unwrap().1.len()).sum();
        assert!(bytes > 3 << 20, "{bytes} bytes of nodes are no more than a batch can hold");
        bench.check_swept().await;
    });
}
