//! Sweeping: giving back the nodes of state trees that nothing refers to any more, beside writers who may be making the same
//! nodes again at that moment.
//!
//! Nodes are content-addressed, so a node that no root reaches may be wanted again, by a writer that is just preparing the
//! same state; and a writer may build on a root that was still in use when it looked. A sweep therefore goes through two
//! phases, which stand in the room's row of table `SWEEPS` together with an *epoch*, a random number that every change of
//! the row replaces. **Whatever refers to nodes of a room names that row as a precondition** ([`Epoch`]).
//!
//! 1. *Condemning.* Mark: walk from every root at a snapshot. What was not reached is condemned: a row in `CONDEMNED` for
//!    each such node, in steps. Writers notice nothing yet, and may refer to condemned nodes.
//! 2. *Condemned*, with a new epoch: what writers prepared in the first phase conflicts and is prepared anew. From here on a
//!    writer *spares* what its roots need (`spare`): it puts condemned nodes again and deletes their rows of `CONDEMNED`.
//!    Mark again, at a snapshot taken in this phase, and take reached nodes off the list: this finds what the writers of the
//!    first phase referred to. What is still on the list then goes, in steps, each node on the precondition that its row of
//!    `CONDEMNED` is still there.
//!
//! Why no node is missed: a node is deleted only while its row stands, and rows are only added before the second epoch
//! begins. Every root that is in use when a node goes was either reached by the second marking; or it was named later, by a
//! writer of the second epoch. That writer had seen all rows there ever were. Below its root it followed the nodes that it
//! made and those on the list. Each other node below is one of a root `r` that was in use when the writer looked, and
//! not on the list: either `r` was in use already at the first marking, so that nothing below such a node was listed, or at the
//! second, so that nothing below it stays listed, or `r` was named by another writer of the second epoch, who did the same.
//!
//! The last step needs that no root goes out of use between the beginning of the second epoch and the second marking, hence one
//! more rule: **who takes a state out of use names the epoch, and does so only while nothing is condemned, and no purge is under way**
//! ([`Epoch::lets_states_go`]; at present, nobody does but purges). In a purge the states of condemned events do not count as used, and a
//! writer may still build on one of them: a node below it that is not on the list is one of a state that counted at the first marking. It still
//! has to at the second, or the events that it names would go: nobody looks for those in nodes that are not on the list. And the last step needs
//! that all rows come from one marking: a sweep that begins anew in the first phase clears the list.
//!
//! All of it is preconditions on rows without positions, so that what becomes of each batch follows from the log before it. A
//! sweep may stop after any step; [`Rooms::resume_sweeps`] goes on with what a stopped program left. Whoever begins or goes on
//! takes a new epoch first, at which any other sweeper of the room stops.

mod epoch;
mod mark;
mod patience;
mod purge;
mod remove;
mod space;
mod spare;

pub use epoch::Epoch;
pub(crate) use patience::Patience;
use patience::in_the_way;
pub use remove::Removed;
pub(super) use spare::guard;
pub(crate) use spare::{absent, guard_outliers};

use super::reader::room_key;
use super::{RoomDeps, Rooms};
use crate::error::{Error, Result};
use crate::tables;
use epoch::{Phase, Row};
use purge::{Cut, Found};
use state_res::ids::RoomKey;
use state_res::tree::NodeHash;
use std::collections::btree_map::Entry;
use storage::{Batch, Outcome, Table, Version};

/// Bytes of one step of bulk work.
pub(crate) const STEP: usize = 256 * 1024;
/// What rows of `CONDEMNED` hold.
const LISTED: &[u8] = b"";

/// What a sweep, a purge or a removal is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage {
    /// It looks for what goes.
    #[default]
    Reading,
    /// It deletes events.
    Events,
    /// It deletes nodes of states.
    Nodes,
    /// It rewrites tables, so that the disk gets the space back.
    Space,
}

/// How far a sweep, a purge or a removal has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it is at.
    pub stage: Stage,
    /// How many of those it has dealt with.
    pub done: u64,
    /// Of how many, where that is known.
    pub of: Option<u64>,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Nodes that the room's states refer to.
    pub kept: u64,
    /// Nodes deleted.
    pub deleted: u64,
    /// Events purged.
    pub events: u64,
    /// Events before the cut that stay for others' sake: because a state names them, or as auth events.
    pub outliers: u64,
    /// Older events that a purge leaves where they are, because nothing follows them.
    pub unfollowed: u64,
    /// Where a purge found none to begin with: events that are older by their own word, behind newer ones.
    pub misplaced: u64,
}

impl Rooms {
    /// Gives back the nodes of a room's state trees that no state refers to, beside whoever reads and writes the room.
    /// Marking keeps the names of all nodes in use in memory, some 40 bytes each.
    ///
    /// # Errors
    /// 409 where a sweep of the room is under way; a failing store; damage (a state that lacks a node).
    pub async fn sweep(&self, room_id: &str) -> Result<Swept> {
        self.sweep_in_steps(room_id, STEP).await
    }

    /// [`Self::sweep`] in steps of about `step` bytes: smaller ones let others in more often, and take longer.
    ///
    /// # Errors
    /// As [`Self::sweep`].
    pub async fn sweep_in_steps(&self, room_id: &str, step: usize) -> Result<Swept> {
        self.sweep_room(RoomKey::of(room_id), step, None).await
    }

    /// Deletes a room's events that are older than `before` (milliseconds), and gives the states back that only they had. An event is as old
    /// as our clock said when it was announced here, to the hour, or as its timestamp says where that is not known. Events that no other
    /// follows stay, however old, and so does what a current state or an event that stays needs of the older ones. Where
    /// clients page back to the cut, other servers in the room are asked, as for all history that is missing here.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND` for an unknown room; as [`Self::sweep`].
    pub async fn purge_history(&self, room_id: &str, before: i64) -> Result<Swept> {
        self.purge_in_steps(room_id, before, STEP).await
    }

    /// [`Self::purge_history`] in steps of about `step` bytes.
    ///
    /// # Errors
    /// As [`Self::purge_history`].
    pub async fn purge_in_steps(&self, room_id: &str, before: i64, step: usize) -> Result<Swept> {
        let room = RoomKey::of(room_id);
        self.known(room_id)?;
        let now = self.deps.world.now().millis() as i64;
        let work = move |snapshot: &storage::Snapshot| purge::find_cut(snapshot, room, before, now);
        let Found { cut, unfollowed, misplaced } = self.deps.store.read(work).await?;
        let swept = self.sweep_room(room, step, cut).await?;
        Ok(Swept { unfollowed, misplaced, ..swept })
    }

    /// How far what [`Self::sweep`], [`Self::purge_history`] or a removal does in a room has come; `None` where nothing is under way.
    #[must_use]
    pub fn sweep_progress(&self, room_id: &str) -> Option<Progress> {
        self.deps.sweeping.lock().get(&RoomKey::of(room_id)).copied()
    }

    /// Finishes the sweeps and removals that were under way when the program last ended. One that fails does not keep it from the others.
    ///
    /// # Errors
    /// As [`Self::sweep`]: what the first of those that failed said.
    pub async fn resume_sweeps(&self) -> Result<Vec<RoomKey>> {
        let rooms = epoch::unfinished(&self.deps.store.snapshot())?;
        let mut failed = None;
        for (room, phase) in &rooms {
            let finished = match phase {
                Phase::Removing => self.finish_removal(*room, STEP).await.map(drop),
                _ => self.sweep_room(*room, STEP, None).await.map(drop),
            };
            let given_back = match finished {
                Ok(()) => self.give_space_of(*room).await,
                Err(error) => Err(error),
            };
            failed = failed.or(given_back.err());
        }
        match failed {
            None => Ok(rooms.into_iter().map(|(room, _)| room).collect()),
            Some(error) => Err(error),
        }
    }

    async fn sweep_room(&self, room: RoomKey, step: usize, cut: Option<Cut>) -> Result<Swept> {
        let _alone = Alone::new(&self.deps, room)?;
        let row = Row::read(&self.deps.store.snapshot(), room)?;
        if row.phase() == Phase::Removing {
            return Err(interfered());
        }
        let unfinished = Cut::from_bytes(row.rest());
        let is_idle = row.phase() == Phase::Idle;
        let first = if is_idle { cut.clone() } else { unfinished };
        let mut swept = Sweeper { deps: &self.deps, room, row, cut: first, step }.run().await?;
        if !is_idle && cut.is_some() {
            let row = Row::read(&self.deps.store.snapshot(), room)?;
            let purged = Sweeper { deps: &self.deps, room, row, cut, step }.run().await?;
            swept.events += purged.events;
            swept.deleted += purged.deleted;
            (swept.kept, swept.outliers) = (purged.kept, purged.outliers);
        }
        Ok(swept)
    }
}

/// One sweep of a room at a time in this process. (Two would do no harm, only the work twice.)
struct Alone<'a> {
    deps: &'a RoomDeps,
    room: RoomKey,
}

impl<'a> Alone<'a> {
    fn new(deps: &'a RoomDeps, room: RoomKey) -> Result<Self> {
        match deps.sweeping.lock().entry(room) {
            Entry::Occupied(_) => Err(interfered()),
            Entry::Vacant(place) => {
                place.insert(Progress::default());
                Ok(Self { deps, room })
            }
        }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.deps.sweeping.lock().remove(&self.room);
    }
}

fn damaged(table: Table) -> Error {
    Error::internal(format!("a row of table {} cannot be read: the data directory is damaged", table.name))
}

fn interfered() -> Error {
    Error::new(409, "M_UNKNOWN", "Something of this room is being deleted already; wait until that is done.")
}

struct Sweeper<'a> {
    deps: &'a RoomDeps,
    room: RoomKey,
    /// The row of `SWEEPS` as this sweeper knows it.
    row: Row,
    /// Where it cuts, if it purges.
    cut: Option<Cut>,
    /// Bytes of a step.
    step: usize,
}

impl Sweeper<'_> {
    async fn run(mut self) -> Result<Swept> {
        if self.row.phase() == Phase::Condemned {
            self.enter(Phase::Condemned).await?;
        } else {
            self.enter(Phase::Condemning).await?;
            let nodes = self.read(mark::list).await?;
            self.steps(&nodes, |batch, hash| {
                batch.delete(tables::CONDEMNED, &room_key(self.room, hash.as_bytes()));
            })
            .await?;
            let events: Vec<_> = self.read(purge::condemned).await?.into_iter().collect();
            self.steps(&events, |batch, event| {
                batch.delete(tables::CONDEMNED_EVENTS, &room_key(self.room, event.as_bytes()));
            })
            .await?;
            if let Some(cut) = self.cut.clone() {
                let doomed = self.read(move |snapshot, room| purge::doomed(snapshot, room, &cut)).await?;
                self.steps(&doomed, |batch, event| {
                    batch.put(tables::CONDEMNED_EVENTS, &room_key(self.room, event.as_bytes()), purge::GOES);
                })
                .await?;
            }
            let cut = self.cut.clone();
            let unreached = self.read(move |snapshot, room| mark::unreached(snapshot, room, cut.as_ref())).await?;
            self.steps(&unreached, |batch, hash| {
                batch.put(tables::CONDEMNED, &room_key(self.room, hash.as_bytes()), LISTED);
            })
            .await?;
            self.enter(Phase::Condemned).await?;
        }
        let cut = self.cut.clone();
        let marked = self.read(move |snapshot, room| mark::listed(snapshot, room, cut.as_ref())).await?;
        self.steps(&marked.reached, |batch, hash| {
            batch.delete(tables::CONDEMNED, &room_key(self.room, hash.as_bytes()));
        })
        .await?;
        let (mut events, mut outliers) = (0, 0);
        if let Some(cut) = self.cut.take() {
            // Before their states go, so that nobody who reads now finds an event without its state.
            let fates = self.read(move |snapshot, room| purge::fates(snapshot, room, marked.events)).await?;
            (events, outliers) = self.delete_events(fates).await?;
            self.delete_roots(&cut).await?;
        }
        let deleted = self.delete(marked.unreached).await?;
        self.enter(Phase::Idle).await?;
        Ok(Swept { kept: marked.kept, deleted, events, outliers, ..Swept::default() })
    }

    /// Goes on to a phase, with a new epoch.
    async fn enter(&mut self, phase: Phase) -> Result<()> {
        let cut = self.cut.as_ref().map_or(&[][..], Cut::as_bytes);
        let next = Row::new(phase, self.deps.world.random_bytes(), cut);
        let mut batch = self.batch();
        batch.put(tables::SWEEPS, self.room.as_bytes(), next.bytes());
        match self.deps.store.commit(batch).await {
            Outcome::Committed(_) => self.row = next,
            Outcome::Conflict(_) => return Err(interfered()),
            Outcome::Unknown(cause) => return Err(cause.into()),
        }
        Ok(())
    }

    /// Notes how far it has come.
    fn note(&self, stage: Stage, done: u64, of: Option<u64>) {
        if let Some(progress) = self.deps.sweeping.lock().get_mut(&self.room) {
            *progress = Progress { stage, done, of };
        }
    }

    /// A batch that applies only while the row is as this sweeper knows it.
    fn batch(&self) -> Batch {
        let mut batch = Batch::with_random_id(&self.deps.world);
        self.row.require(self.room, &mut batch);
        batch
    }

    /// Reads much, where it holds up nobody.
    async fn read<R: Send + 'static>(
        &self,
        work: impl FnOnce(&storage::Snapshot, RoomKey) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let room = self.room;
        self.deps.store.read(move |snapshot| work(snapshot, room)).await
    }

    /// Adds something for each thing, in steps.
    async fn steps<T>(&self, things: &[T], add: impl Fn(&mut Batch, &T)) -> Result<()> {
        let mut batch = self.batch();
        for (nth, thing) in things.iter().enumerate() {
            add(&mut batch, thing);
            if batch.encoded_len() >= self.step || nth + 1 == things.len() {
                match self.deps.store.commit_logged(std::mem::replace(&mut batch, self.batch())).await {
                    Outcome::Committed(_) => {}
                    Outcome::Conflict(_) => return Err(interfered()),
                    Outcome::Unknown(cause) => return Err(cause.into()),
                }
            }
        }
        Ok(())
    }

    /// Deletes the nodes that are still condemned when their step comes.
    async fn delete(&self, mut nodes: Vec<NodeHash>) -> Result<u64> {
        let mut deleted = 0;
        while !nodes.is_empty() {
            self.note(Stage::Nodes, deleted, Some(deleted + nodes.len() as u64));
            let mut batch = self.batch();
            let mut taken = 0;
            for hash in nodes.iter().rev() {
                let key = room_key(self.room, hash.as_bytes());
                batch.require_version(tables::CONDEMNED, &key, Version::of(LISTED));
                batch.delete(tables::NODES, &key);
                batch.delete(tables::CONDEMNED, &key);
                taken += 1;
                if batch.encoded_len() >= self.step {
                    break;
                }
            }
            match self.deps.store.commit_logged(batch).await {
                Outcome::Committed(_) => {
                    deleted += taken as u64;
                    let gone = nodes.split_off(nodes.len() - taken);
                    self.deps.caches.forget_nodes(self.room, &gone);
                }
                Outcome::Conflict(at) if at.table == tables::CONDEMNED => {
                    // A writer has spared some meanwhile.
                    let snapshot = self.deps.store.snapshot();
                    let mut left = Vec::with_capacity(nodes.len());
                    for hash in nodes {
                        if snapshot.contains(tables::CONDEMNED, &room_key(self.room, hash.as_bytes()))? {
                            left.push(hash);
                        }
                    }
                    nodes = left;
                }
                Outcome::Conflict(_) => return Err(interfered()),
                Outcome::Unknown(cause) => return Err(cause.into()),
            }
        }
        Ok(deleted)
    }
}
