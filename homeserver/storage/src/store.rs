//! The store: opening, committing, reading, waking.

use std::{
    path::Path,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use net::World;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::{
    Batch, Class, Faults, Leases, Log, Options, Outcome, Position, Schema, Snapshot, StorageError, Subscription, Table,
    Topic, VolatileFeed,
    commit::{Committer, TAIL_SYNC},
    engine::{Engine, memory::MemoryEngine, rocks::RocksEngine},
    feed::Feed,
    key::prefix_end,
    limits,
    queue::{Pending, Queue},
    recovery::{Opened, SCHEMA_VERSION, recover},
    schema::{META, Tables},
    snapshot::stored_key,
};

/// The log-first store. Cheap to clone; dropping the last clone commits what waits, syncs and closes.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    world: World,
    incarnation: u64,
    stored_schema: u32,
    readers: Arc<Semaphore>,
    worker: Worker,
}

/// What runs the committer.
enum Worker {
    /// A thread of its own, since syncing blocks.
    Thread(Mutex<Option<JoinHandle<()>>>),
    /// A task of the world, so that a simulation decides when it runs.
    Task(Arc<Mutex<Committer>>),
}

/// What the committer and the handles share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) tables: Tables,
    pub(crate) queue: Queue,
    pub(crate) feed: Arc<Feed>,
    pub(crate) counters: Counters,
    published: RwLock<Snapshot>,
    stopped: watch::Sender<Option<String>>,
}

/// What has been counted since the store was opened.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) groups: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) conflicts: AtomicU64,
}

/// Figures for metrics, since the store was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// The position of the last batch that readers can see.
    pub position: Position,
    /// Groups of batches written.
    pub groups: u64,
    /// Groups that were synced.
    pub syncs: u64,
    /// Batches that met a conflict.
    pub conflicts: u64,
}

impl Shared {
    /// An engine and tables, with readers at this snapshot.
    pub(crate) fn new(engine: Engine, tables: Tables, published: Snapshot) -> Arc<Self> {
        Arc::new(Self {
            engine,
            tables,
            queue: Queue::new(),
            feed: Arc::new(Feed::starting_at(published.position())),
            counters: Counters::default(),
            published: RwLock::new(published),
            stopped: watch::Sender::default(),
        })
    }

    /// What readers see.
    pub(crate) fn published(&self) -> Snapshot {
        self.published.read().clone()
    }

    pub(crate) fn publish(&self, snapshot: Snapshot) {
        let old = std::mem::replace(&mut *self.published.write(), snapshot);
        // Releasing a snapshot of the engine need not hold up readers.
        drop(old);
    }

    pub(crate) fn set_stopped(&self, why: String) {
        self.stopped.send_replace(Some(why));
    }
}

impl Store {
    /// Opens or creates a store in a folder of the file system.
    ///
    /// # Errors
    ///
    /// [`StorageError`] if the folder cannot be used (another process has it open, say), the data were written with a newer
    /// schema version, or the schema contradicts itself.
    pub fn open_rocksdb(
        path: &Path,
        schema: &'static Schema,
        world: World,
        options: Options,
    ) -> Result<Self, StorageError> {
        let tables = Tables::new(schema)?;
        let engine = Engine::Rocks(RocksEngine::open(path, &options)?);
        let (committer, opened) = recover(engine, tables, schema, world.clone(), &options)?;
        let shared = committer.shared.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "syncing blocks; the engine that a simulation uses has no thread"
        )]
        let thread = std::thread::Builder::new()
            .name("commit".to_owned())
            .spawn(move || run(committer))
            .map_err(|cause| StorageError::Engine(format!("cannot start the committer's thread: {cause}")))?;
        Ok(Self::new(shared, world, &options, &opened, Worker::Thread(Mutex::new(Some(thread)))))
    }

    /// Opens a store in memory, on a disk that was not used before or by a store with this schema.
    ///
    /// # Panics
    ///
    /// If the schema contradicts itself, or the disk was written with a newer one; see [`Store::try_open_memory`].
    pub fn open_memory(schema: &'static Schema, world: World, disk: Faults) -> Self {
        Self::try_open_memory(schema, world, disk).expect("a new disk and a sound schema open")
    }

    /// Opens a store in memory, on this disk. Closing it and opening the disk again is a restart.
    ///
    /// # Errors
    ///
    /// As [`Store::open_rocksdb`].
    pub fn try_open_memory(schema: &'static Schema, world: World, disk: Faults) -> Result<Self, StorageError> {
        Self::open_memory_with(schema, world, disk, Options::default())
    }

    /// [`Store::try_open_memory`] with other than the default options; those about caches have no effect.
    ///
    /// # Errors
    ///
    /// As [`Store::open_rocksdb`].
    pub fn open_memory_with(
        schema: &'static Schema,
        world: World,
        disk: Faults,
        options: Options,
    ) -> Result<Self, StorageError> {
        let tables = Tables::new(schema)?;
        let engine = Engine::Memory(MemoryEngine::open(disk.clone()));
        let (committer, opened) = recover(engine, tables, schema, world.clone(), &options)?;
        let shared = committer.shared.clone();
        let committer = Arc::new(Mutex::new(committer));
        world.spawn("commit", run_task(shared.clone(), Arc::downgrade(&committer), world.clone(), disk));
        Ok(Self::new(shared, world, &options, &opened, Worker::Task(committer)))
    }

    fn new(shared: Arc<Shared>, world: World, options: &Options, opened: &Opened, worker: Worker) -> Self {
        let inner = Inner {
            shared,
            world,
            incarnation: opened.incarnation,
            stored_schema: opened.stored_schema,
            readers: Arc::new(Semaphore::new(options.readers.max(1))),
            worker,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Commits a batch: adds it to the log, if its preconditions hold, and answers when it is as durable as its class asks. When
    /// it answers, snapshots hold the batch. Dropping the future does not take the batch back.
    pub async fn commit(&self, batch: Batch) -> Outcome {
        let bytes = match self.check(&batch) {
            Ok(bytes) => bytes,
            Err(error) => return Outcome::Unknown(error),
        };
        let (answer, outcome) = oneshot::channel();
        if self.inner.shared.queue.push(Pending { batch, bytes, answer }).await.is_err() {
            return Outcome::Unknown(StorageError::Stopped("it is being closed".to_owned()));
        }
        outcome.await.unwrap_or_else(|_| Outcome::Unknown(self.why_stopped()))
    }

    /// [`Store::commit`] with [`Class::Logged`].
    pub async fn commit_logged(&self, mut batch: Batch) -> Outcome {
        batch.class(Class::Logged);
        self.commit(batch).await
    }

    /// What has been committed so far. Cheap; never waits.
    pub fn snapshot(&self) -> Snapshot {
        self.inner.shared.published()
    }

    /// Runs reads that may touch much that is not in memory where they hold up nobody, on a snapshot taken when they begin.
    pub async fn read<R: Send + 'static>(&self, work: impl FnOnce(&Snapshot) -> R + Send + 'static) -> R {
        // The semaphore is never closed; should it be, the work runs all the same. The permit goes with the work, which goes
        // on when this future is dropped.
        let permit = self.inner.readers.clone().acquire_owned().await;
        let shared = self.inner.shared.clone();
        let work = move || {
            let result = work(&shared.published());
            drop(permit);
            result
        };
        self.inner.world.blocking(work).await
    }

    /// Waits for batches with these topics, and volatile notifications about them.
    pub fn subscribe(&self, topics: &[Topic]) -> Subscription {
        self.inner.shared.feed.subscribe(topics)
    }

    /// A position after which no batch with this topic has been committed, as far as a snapshot taken before the call can show: who reads
    /// a topic's rows since then will find none. It may be later than the last such batch (when the store was opened, say), never
    /// earlier. Volatile notifications do not count.
    pub fn untouched_since(&self, topic: Topic) -> Position {
        self.inner.shared.feed.untouched_since(&topic)
    }

    /// The feed of what is not in the log.
    pub fn volatile(&self) -> VolatileFeed {
        VolatileFeed { store: self.clone() }
    }

    /// The position of the last batch that readers can see.
    pub fn position(&self) -> Position {
        self.inner.shared.published.read().position()
    }

    /// Names this log: random when the store was created or restored. A position that was learned under another incarnation means
    /// nothing here.
    pub fn incarnation(&self) -> u64 {
        self.inner.incarnation
    }

    /// The schema version under which the data were written when the store was opened: the schema's own for a new store, an older
    /// one if something has to be migrated ([`Store::set_schema_version`]).
    pub fn stored_schema_version(&self) -> u32 {
        self.inner.stored_schema
    }

    /// Adds to a batch that the data now have this schema version: the last step of a migration.
    pub fn set_schema_version(&self, batch: &mut Batch, version: u32) {
        batch.put_unchecked(META, SCHEMA_VERSION, &version.to_be_bytes());
    }

    /// Committed batches after a position, up to the current one.
    ///
    /// # Errors
    ///
    /// [`StorageError::Trimmed`] if some of them are no longer in the log: the reader has to look at all data instead.
    pub fn log(&self, after: Position) -> Result<Log, StorageError> {
        Log::new(self.snapshot(), after)
    }

    /// How far the named reader of the log has come ([`Batch::set_cursor`]).
    ///
    /// # Errors
    ///
    /// [`StorageError::Engine`] if the disk fails.
    pub fn cursor(&self, name: &str) -> Result<Option<Position>, StorageError> {
        self.snapshot().cursor(name)
    }

    /// Figures for metrics.
    pub fn statistics(&self) -> Statistics {
        let counters = &self.inner.shared.counters;
        Statistics {
            position: self.position(),
            groups: counters.groups.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
            conflicts: counters.conflicts.load(Ordering::Relaxed),
        }
    }

    /// Gives the disk space back that deleted and overwritten rows of a table still take. The engine does the same by and by; this
    /// takes long, reads and writes the whole table, and holds up nobody.
    ///
    /// # Errors
    ///
    /// [`StorageError::Engine`] if the disk fails.
    pub async fn compact(&self, table: Table) -> Result<(), StorageError> {
        self.compact_prefix(table, &[]).await
    }

    /// [`Store::compact`] for the rows whose keys begin with `prefix`.
    ///
    /// # Errors
    ///
    /// [`StorageError::Engine`] if the disk fails.
    pub async fn compact_prefix(&self, table: Table, prefix: &[u8]) -> Result<(), StorageError> {
        let shared = self.inner.shared.clone();
        let start = stored_key(table, prefix);
        let work = move || shared.engine.compact(table.access, &start, &prefix_end(&start));
        self.inner.world.blocking(work).await
    }

    /// Brings what a table has only in the write-ahead log and in memory to files of its own, so that [`Store::disk_bytes`] counts it.
    ///
    /// # Errors
    ///
    /// [`StorageError::Engine`] if the disk fails.
    pub async fn flush(&self, table: Table) -> Result<(), StorageError> {
        let shared = self.inner.shared.clone();
        self.inner.world.blocking(move || shared.engine.flush(table.access)).await
    }

    /// About how many bytes a table takes on disk, what is still only in the write-ahead log and in memory not counted.
    pub fn disk_bytes(&self, table: Table) -> u64 {
        self.inner.shared.engine.disk_bytes(table.access, &[table.id], &[table.id + 1])
    }

    /// The leases in this store.
    pub fn leases(&self) -> Leases {
        Leases { store: self.clone() }
    }

    /// The world that the store lives in.
    pub fn world(&self) -> &World {
        &self.inner.world
    }

    pub(crate) fn wake(&self, topics: impl Iterator<Item = Topic>) {
        let position = self.position();
        self.inner.shared.feed.notify(topics.map(|topic| (topic, position)));
    }

    /// Bytes of the encoded batch, if it may be committed here.
    fn check(&self, batch: &Batch) -> Result<usize, StorageError> {
        if let Some(why) = &batch.invalid {
            return Err(StorageError::Invalid(why.clone()));
        }
        let bytes = batch.encoded_len();
        if bytes > limits::MAX_BATCH_BYTES {
            return Err(StorageError::Invalid(format!(
                "it has {bytes} bytes; the limit is {}",
                limits::MAX_BATCH_BYTES
            )));
        }
        for (word, bits) in (0u8..).zip(batch.tables) {
            let mut bits = bits;
            while bits != 0 {
                let id = word * 64 + bits.trailing_zeros() as u8;
                if self.inner.shared.tables.get(id).is_none() {
                    return Err(StorageError::Invalid(format!("no table of the schema has the id {id}")));
                }
                bits &= bits - 1;
            }
        }
        Ok(bytes)
    }

    /// Why the store takes no more writes until it is opened again, if it does not: a write failed, and nobody knows what of it is on the disk.
    pub fn stopped(&self) -> Option<String> {
        self.inner.shared.stopped.borrow().clone()
    }

    /// Waits until [`Store::stopped`] has something to say, and gives it.
    pub async fn until_stopped(&self) -> String {
        let mut stopped = self.inner.shared.stopped.subscribe();
        // The sender is in `self`, which is not dropped while this waits for it.
        let why = stopped.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.unwrap_or_default()
    }

    fn why_stopped(&self) -> StorageError {
        StorageError::Stopped(self.stopped().unwrap_or_else(|| "it is being closed".to_owned()))
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("position", &self.position()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.queue.close();
        match &self.worker {
            Worker::Thread(thread) => {
                // The committer wakes tasks, and one of them may own the last handle: a thread cannot wait for itself, and it ends
                // without being waited for.
                if let Some(thread) = thread.lock().take()
                    && thread.thread().id() != std::thread::current().id()
                    && thread.join().is_err()
                {
                    tracing::error!("the committer's thread panicked");
                }
            }
            Worker::Task(committer) => committer.lock().finish(),
        }
    }
}

/// The committer's thread.
fn run(mut committer: Committer) {
    let shared = committer.shared.clone();
    while !shared.queue.is_closed() {
        shared.queue.wait(committer.sleep_at_most());
        committer.run_group();
        committer.sync_tail();
    }
    committer.finish();
}

/// The committer's task: the same, with the world's time for the disk's.
async fn run_task(shared: Arc<Shared>, committer: Weak<Mutex<Committer>>, world: World, disk: Faults) {
    let mut unsynced = false;
    while !shared.queue.is_closed() {
        if shared.queue.is_empty() {
            if unsynced {
                let _ = world.timeout(TAIL_SYNC, shared.queue.ready()).await;
            } else {
                shared.queue.ready().await;
            }
        }
        let sync_time = disk.sync_time();
        if !sync_time.is_zero() && !shared.queue.is_empty() {
            world.sleep(sync_time).await;
        }
        let Some(committer) = committer.upgrade() else { return };
        let mut committer = committer.lock();
        committer.run_group();
        committer.sync_tail();
        unsynced = committer.sleep_at_most().is_some();
    }
}

/// Handles go to any task.
const _: fn() = || {
    fn shared_between_threads<T: Send + Sync>() {}
    shared_between_threads::<(Store, Snapshot)>();
};
