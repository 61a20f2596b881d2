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
//! more rule: **who takes a state out of use names the epoch, and does so only while nothing is condemned**
//! ([`Epoch::is_condemned`]). And that all rows come from one marking: a sweep that begins anew in the first phase clears the list.
//!
//! All of it is preconditions on rows without positions, so that what becomes of each batch follows from the log before it. A
//! sweep may stop after any step; [`Rooms::resume_sweeps`] goes on with what a stopped program left. Whoever begins or goes on
//! takes a new epoch first, at which any other sweeper of the room stops.

mod epoch;
mod mark;
mod spare;

pub use epoch::Epoch;
pub(super) use spare::guard;

use super::reader::room_key;
use super::{RoomDeps, Rooms};
use crate::error::{Error, Result};
use crate::tables;
use epoch::{Phase, Row};
use state_res::ids::RoomKey;
use state_res::tree::NodeHash;
use storage::{Batch, Outcome, Version};

/// Bytes of one step of bulk work.
pub(super) const STEP: usize = 256 * 1024;
/// What rows of `CONDEMNED` hold.
const LISTED: &[u8] = b"";

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Nodes that the room's states refer to.
    pub kept: u64,
    /// Nodes deleted.
    pub deleted: u64,
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
        self.sweep_room(RoomKey::of(room_id), step).await
    }

    /// Finishes the sweeps that were under way when the program last ended.
    ///
    /// # Errors
    /// As [`Self::sweep`].
    pub async fn resume_sweeps(&self) -> Result<Vec<RoomKey>> {
        let rooms = epoch::unfinished(&self.deps.store.snapshot())?;
        for room in &rooms {
            self.sweep_room(*room, STEP).await?;
        }
        Ok(rooms)
    }

    async fn sweep_room(&self, room: RoomKey, step: usize) -> Result<Swept> {
        let _alone = Alone::new(&self.deps, room)?;
        let row = Row::read(&self.deps.store.snapshot(), room)?;
        Sweeper { deps: &self.deps, room, row, step }.run().await
    }
}

/// One sweep of a room at a time in this process. (Two would do no harm, only the work twice.)
struct Alone<'a> {
    deps: &'a RoomDeps,
    room: RoomKey,
}

impl<'a> Alone<'a> {
    fn new(deps: &'a RoomDeps, room: RoomKey) -> Result<Self> {
        if deps.sweeping.lock().insert(room) { Ok(Self { deps, room }) } else { Err(interfered()) }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.deps.sweeping.lock().remove(&self.room);
    }
}

fn interfered() -> Error {
    Error::new(409, "M_UNKNOWN", "This room is being swept already.")
}

struct Sweeper<'a> {
    deps: &'a RoomDeps,
    room: RoomKey,
    /// The row of `SWEEPS` as this sweeper knows it.
    row: Row,
    /// Bytes of a step.
    step: usize,
}

impl Sweeper<'_> {
    async fn run(mut self) -> Result<Swept> {
        if self.row.phase() == Phase::Condemned {
            self.enter(Phase::Condemned).await?;
        } else {
            self.enter(Phase::Condemning).await?;
            let leftover = self.read(mark::list).await?;
            self.steps(&leftover, |batch, key| {
                batch.delete(tables::CONDEMNED, key);
            })
            .await?;
            let unreached = self.read(mark::unreached).await?;
            self.steps(&unreached, |batch, key| {
                batch.put(tables::CONDEMNED, key, LISTED);
            })
            .await?;
            self.enter(Phase::Condemned).await?;
        }
        let marked = self.read(mark::listed).await?;
        self.steps(&marked.reached, |batch, key| {
            batch.delete(tables::CONDEMNED, key);
        })
        .await?;
        let deleted = self.delete(marked.unreached).await?;
        self.enter(Phase::Idle).await?;
        Ok(Swept { kept: marked.kept, deleted })
    }

    /// Goes on to a phase, with a new epoch.
    async fn enter(&mut self, phase: Phase) -> Result<()> {
        let next = Row::new(phase, self.deps.world.random_bytes());
        let mut batch = self.batch();
        batch.put(tables::SWEEPS, self.room.as_bytes(), next.bytes());
        match self.deps.store.commit(batch).await {
            Outcome::Committed(_) => self.row = next,
            Outcome::Conflict(_) => return Err(interfered()),
            Outcome::Unknown(cause) => return Err(cause.into()),
        }
        Ok(())
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

    /// Adds something for each node, in steps.
    async fn steps(&self, nodes: &[NodeHash], add: impl Fn(&mut Batch, &[u8])) -> Result<()> {
        let mut batch = self.batch();
        for (nth, hash) in nodes.iter().enumerate() {
            add(&mut batch, &room_key(self.room, hash.as_bytes()));
            if batch.encoded_len() >= self.step || nth + 1 == nodes.len() {
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
