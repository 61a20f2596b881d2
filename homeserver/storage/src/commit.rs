//! Group commit: decides the batches of a group one after the other, writes them together, syncs once, answers all.
//!
//! A batch's outcome depends on the log before it and on nothing else: preconditions are checked against what the batches ahead
//! left (in the engine, or in the overlay if they are in the same group), and a remembered id is answered as it was.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use net::World;

use crate::{
    Batch, Class, ConflictAt, Options, Outcome, Position, StorageError, Topic, Version,
    encoding::{OpKind, Ops, Preconditions},
    engine::WriteSet,
    limits,
    log::TRIMMED,
    overlay::Overlay,
    queue::Pending,
    recovery::{CLEAN, POSITION},
    remembered::{Decided, Remembered},
    schema::{CONFLICTS, CURSORS, LOG, META},
    snapshot::{Snapshot, read_position, stored_key},
    store::Shared,
};

/// For how long logged batches may wait for their sync.
pub(crate) const TAIL_SYNC: Duration = Duration::from_millis(250);

/// Bytes that a batch's row of the log takes beside its topics, roughly.
const LOG_ROW_BYTES: usize = 64;

/// The state of the one writer of a store.
pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    world: World,
    /// The last position in the engine.
    position: Position,
    trimmed: Position,
    next_trim_check: Position,
    remembered: Remembered,
    /// Numbers conflicts, so that they are remembered in the same order after a restart.
    conflicts: u64,
    /// How many positions have been announced but not synced.
    unsynced: u64,
    unsynced_since: Duration,
    sync: bool,
    retention: u64,
    /// Why no more is written.
    stopped: Option<String>,
    group: Vec<Pending>,
}

/// Where a committer goes on.
pub(crate) struct Recovered {
    pub(crate) position: Position,
    pub(crate) trimmed: Position,
    pub(crate) remembered: Remembered,
    pub(crate) conflicts: u64,
}

/// How a batch is to be answered once the group is written.
enum Decision {
    Answer(Outcome),
    Apply,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, world: World, options: &Options, recovered: Recovered) -> Self {
        let Recovered { position, trimmed, remembered, conflicts } = recovered;
        Self {
            shared,
            world,
            position,
            trimmed,
            next_trim_check: 0,
            remembered,
            conflicts,
            unsynced: 0,
            unsynced_since: Duration::ZERO,
            sync: options.sync,
            retention: options.log_retention.max(limits::REMEMBERED_POSITIONS),
            stopped: None,
            group: Vec::new(),
        }
    }

    /// Commits what waits in the queue, in one group.
    pub(crate) fn run_group(&mut self) {
        let mut group = std::mem::take(&mut self.group);
        self.shared.queue.take(&mut group);
        if !group.is_empty() {
            self.commit(&mut group);
        }
        group.clear();
        self.group = group;
    }

    /// How long the committer may sleep before [`Committer::sync_tail`] is due.
    pub(crate) fn sleep_at_most(&self) -> Option<Duration> {
        (self.unsynced > 0).then_some(TAIL_SYNC)
    }

    /// Syncs logged batches that have waited long enough.
    pub(crate) fn sync_tail(&mut self) {
        if self.unsynced == 0 || self.stopped.is_some() || !self.tail_is_old() {
            return;
        }
        match self.shared.engine.sync() {
            Ok(()) => self.unsynced = 0,
            Err(error) => self.stop(&error),
        }
    }

    /// Commits what still waits, syncs, and notes that nothing was lost.
    pub(crate) fn finish(&mut self) {
        while !self.shared.queue.is_empty() {
            self.run_group();
        }
        if self.stopped.is_some() {
            return;
        }
        let mut writes = self.shared.engine.begin(64);
        writes.put(META.access, &stored_key(META, CLEAN), &self.shared.engine.boot_id());
        if let Err(error) = self.shared.engine.write(writes, true) {
            tracing::warn!(%error, "the store could not be closed cleanly");
        }
    }

    fn tail_is_old(&self) -> bool {
        self.unsynced > 0 && self.world.monotonic().saturating_sub(self.unsynced_since) >= TAIL_SYNC
    }

    fn stop(&mut self, error: &StorageError) {
        tracing::error!(%error, "a write to the store failed; it takes no more writes until it is opened again");
        self.stopped = Some(error.to_string());
        self.shared.set_stopped(error.to_string());
    }

    fn commit(&mut self, group: &mut Vec<Pending>) {
        if let Some(why) = &self.stopped {
            for pending in group.drain(..) {
                let _ = pending.answer.send(Outcome::Unknown(StorageError::Stopped(why.clone())));
            }
            return;
        }
        let before = self.position;
        let bytes: usize = group.iter().map(|pending| pending.bytes + LOG_ROW_BYTES).sum();
        let mut writes = self.shared.engine.begin(bytes + bytes / 8 + 256);
        let mut overlay = Overlay::default();
        let mut touched: Vec<(Topic, Position)> = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        let mut sync = false;
        let last_with_preconditions =
            group.iter().rposition(|pending| !pending.batch.preconditions.is_empty()).unwrap_or_default();
        for (nth, Pending { batch, answer, .. }) in group.drain(..).enumerate() {
            sync |= batch.class == Class::Synced;
            let visible = nth < last_with_preconditions;
            let outcome = match self.decide(&batch, &overlay, &mut writes) {
                Decision::Answer(outcome) => outcome,
                Decision::Apply => {
                    self.position += 1;
                    touched.extend(batch.topics.iter().map(|topic| (*topic, self.position)));
                    self.apply(batch, &mut overlay, visible, &mut writes)
                }
            };
            answers.push((answer, outcome));
        }
        let sync = self.sync && sync || self.unsynced_limit(self.position - before) || self.tail_is_old();
        let result = self.write(writes, before, sync);
        match result {
            Ok(()) => {
                self.publish(before, touched);
                for (answer, outcome) in answers {
                    // A writer that has gone does not want to know.
                    let _ = answer.send(outcome);
                }
            }
            Err(error) => {
                self.stop(&error);
                for (answer, _) in answers {
                    let _ = answer.send(Outcome::Unknown(error.clone()));
                }
            }
        }
    }

    fn write(&mut self, mut writes: WriteSet, before: Position, sync: bool) -> Result<(), StorageError> {
        if writes.is_empty() {
            // Only remembered outcomes; they may still have to reach the disk.
            if sync && self.unsynced > 0 {
                self.shared.engine.sync()?;
                self.unsynced = 0;
            }
            return Ok(());
        }
        if self.position > before {
            writes.put(META.access, &stored_key(META, POSITION), &self.position.to_be_bytes());
            if let Err(error) = self.trim(&mut writes) {
                tracing::warn!(%error, "the log could not be trimmed; it will be tried again");
            }
        }
        self.shared.engine.write(writes, sync)?;
        self.shared.counters.groups.fetch_add(1, Ordering::Relaxed);
        self.shared.counters.syncs.fetch_add(u64::from(sync), Ordering::Relaxed);
        if sync {
            self.unsynced = 0;
        } else {
            if self.unsynced == 0 {
                self.unsynced_since = self.world.monotonic();
            }
            self.unsynced += (self.position - before).max(1);
        }
        Ok(())
    }

    fn unsynced_limit(&self, more: u64) -> bool {
        self.unsynced + more >= limits::MAX_UNSYNCED_POSITIONS
    }

    /// Lets readers see the group, then wakes them.
    fn publish(&self, before: Position, touched: Vec<(Topic, Position)>) {
        if self.position == before {
            return;
        }
        self.shared.feed.touch(touched.iter().copied());
        self.shared.publish(Snapshot::new(self.position, self.shared.engine.snapshot()));
        self.shared.feed.notify(touched.into_iter());
    }

    /// What is to become of a batch, given the log before it. Remembers a conflict.
    fn decide(&mut self, batch: &Batch, overlay: &Overlay, writes: &mut WriteSet) -> Decision {
        if let Some(decided) = self.remembered.get(batch.id, self.position) {
            return Decision::Answer(match &decided.conflict {
                None => Outcome::Committed(decided.position),
                Some(key) => self.conflict(key),
            });
        }
        if let Some(made_at) = batch.made_at
            && self.position.saturating_sub(made_at) > limits::REMEMBERED_POSITIONS
        {
            return Decision::Answer(Outcome::Unknown(StorageError::Forgotten { made_at, position: self.position }));
        }
        match self.failed_precondition(batch, overlay) {
            Ok(None) => Decision::Apply,
            Ok(Some(key)) => {
                let row = [self.position.to_be_bytes(), self.conflicts.to_be_bytes()].concat();
                writes.put(CONFLICTS.access, &stored_key(CONFLICTS, &row), &[&batch.id.0[..], &key].concat());
                self.conflicts += 1;
                self.shared.counters.conflicts.fetch_add(1, Ordering::Relaxed);
                let outcome = self.conflict(&key);
                self.remembered.insert(batch.id, Decided { position: self.position, conflict: Some(key) });
                Decision::Answer(outcome)
            }
            Err(error) => Decision::Answer(Outcome::Unknown(error)),
        }
    }

    /// The stored key of the first precondition that does not hold.
    fn failed_precondition(&self, batch: &Batch, overlay: &Overlay) -> Result<Option<Bytes>, StorageError> {
        for required in Preconditions::new(&batch.preconditions) {
            let required = required?;
            let holds = |value: Option<&[u8]>| match (required.version, value) {
                (None, None) => true,
                (Some(version), Some(value)) => Version::of(value) == version,
                _ => false,
            };
            let held = match overlay.get(required.key) {
                Some(value) => holds(value),
                None => {
                    let access = self.shared.tables.access(required.key.first().copied().unwrap_or_default());
                    self.shared.engine.get_with(access, required.key, holds)?
                }
            };
            if !held {
                return Ok(Some(Bytes::copy_from_slice(required.key)));
            }
        }
        Ok(None)
    }

    /// Adds a batch's writes and its row of the log, at the current position.
    fn apply(&mut self, mut batch: Batch, overlay: &mut Overlay, visible: bool, writes: &mut WriteSet) -> Outcome {
        let position = self.position.to_be_bytes();
        for &slot in &batch.slots {
            // Both builder and decoder have checked that it lies within.
            if let Some(place) = batch.ops.get_mut(slot as usize..slot as usize + 8) {
                place.copy_from_slice(&position);
            }
        }
        for op in Ops::new(&batch.ops).flatten() {
            let key = &batch.ops[op.key.0..op.key.1];
            let access = self.shared.tables.access(key.first().copied().unwrap_or_default());
            match op.kind {
                OpKind::Put => writes.put(access, key, &batch.ops[op.value.0..op.value.1]),
                OpKind::Delete => writes.delete(access, key),
                OpKind::DeleteRange => writes.delete_range(access, key, &batch.ops[op.value.0..op.value.1]),
            }
        }
        let mut row = Vec::with_capacity(16 + 16 * batch.topics.len());
        row.extend_from_slice(&batch.id.0);
        for topic in &batch.topics {
            row.extend_from_slice(&topic.0);
        }
        writes.put(LOG.access, &stored_key(LOG, &position), &row);
        if visible {
            overlay.add(&batch.ops.into());
        }
        self.remembered.insert(batch.id, Decided { position: self.position, conflict: None });
        Outcome::Committed(self.position)
    }

    fn conflict(&self, key: &Bytes) -> Outcome {
        let table = key.first().and_then(|id| self.shared.tables.get(*id)).unwrap_or(META);
        Outcome::Conflict(ConflictAt { table, key: key.slice(1.min(key.len())..) })
    }

    /// Drops what is older than the retention, a step at a time, unless a durable reader still needs it.
    fn trim(&mut self, writes: &mut WriteSet) -> Result<(), StorageError> {
        let due = self.position.saturating_sub(self.retention);
        if due < self.trimmed + limits::TRIM_STEP || self.position < self.next_trim_check {
            return Ok(());
        }
        self.next_trim_check = self.position + limits::TRIM_CHECK;
        let mut up_to = due;
        let snapshot = self.shared.published();
        let mut cursors = snapshot.scan::<&[u8]>(CURSORS, &[]..&[]);
        while let Some(cursor) = cursors.next_with(|_, value| read_position(value)) {
            up_to = up_to.min(cursor??);
        }
        let longest = self.retention.saturating_mul(limits::MAX_CURSOR_LAG);
        up_to = up_to.max(self.position.saturating_sub(longest));
        if up_to < self.trimmed + limits::TRIM_STEP {
            return Ok(());
        }
        let rows = |from: Position, to: Position| (from.to_be_bytes(), to.to_be_bytes());
        for (table, (start, end)) in [
            (LOG, rows(self.trimmed, up_to.saturating_add(1))),
            (CONFLICTS, rows(0, self.position.saturating_sub(limits::REMEMBERED_POSITIONS))),
        ] {
            writes.delete_range(table.access, &stored_key(table, &start), &stored_key(table, &end));
        }
        writes.put(META.access, &stored_key(META, TRIMMED), &up_to.to_be_bytes());
        self.trimmed = up_to;
        Ok(())
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        // Whoever still waits learns that nobody will answer.
        self.shared.queue.close();
    }
}
