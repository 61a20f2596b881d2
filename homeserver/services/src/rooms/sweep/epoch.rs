//! The row of table `SWEEPS`: in which phase a room's sweep is, and the epoch that batches name.

use crate::error::{Error, Result};
use crate::tables;
use bytes::Bytes;
use state_res::ids::RoomKey;
use storage::{Batch, Precondition, Snapshot, Version};

/// How far a sweep has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// None is under way.
    Idle = 0,
    /// Nodes are being put on the list.
    Condemning = 1,
    /// The list is complete; writers take from it what they need, and the rest goes.
    Condemned = 2,
    /// The room is no longer known, and all that is stored about it goes; nobody writes into it until that is done.
    Removing = 3,
}

/// A row: `phase, epoch (8), where a purge cuts, or the id of a room that is being removed`. A room that was never swept has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    bytes: Option<Bytes>,
    phase: Phase,
}

impl Row {
    /// The row with this phase, epoch and cut.
    pub(super) fn new(phase: Phase, epoch: [u8; 8], cut: &[u8]) -> Self {
        let mut bytes = vec![phase as u8];
        bytes.extend_from_slice(&epoch);
        bytes.extend_from_slice(cut);
        Self { bytes: Some(bytes.into()), phase }
    }

    /// The row of a room.
    pub(super) fn read(snapshot: &Snapshot, room: RoomKey) -> Result<Self> {
        Self::decode(snapshot.get(tables::SWEEPS, room.as_bytes())?)
    }

    fn decode(bytes: Option<Bytes>) -> Result<Self> {
        let phase = match bytes.as_deref() {
            None | Some([0, ..]) => Phase::Idle,
            Some([1, ..]) => Phase::Condemning,
            Some([2, ..]) => Phase::Condemned,
            Some([3, ..]) => Phase::Removing,
            Some(_) => {
                return Err(Error::internal("a row of table SWEEPS cannot be read: the data directory is damaged"));
            }
        };
        Ok(Self { bytes, phase })
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Where a purge cuts; empty for a sweep that purges nothing. The room's id where it is being removed.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes().get(9..).unwrap_or_default()
    }

    /// The value; empty where there is no row.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or_default()
    }

    /// Lets a batch apply only while the row is this one.
    pub(super) fn require(&self, room: RoomKey, batch: &mut Batch) {
        batch.require(&match &self.bytes {
            None => Precondition::absent(tables::SWEEPS, room.as_bytes()),
            Some(bytes) => Precondition::version(tables::SWEEPS, room.as_bytes(), Version::of(bytes)),
        });
    }
}

/// Rooms whose sweep or removal is not finished, and how far it has come.
pub(super) fn unfinished(snapshot: &Snapshot) -> Result<Vec<(RoomKey, Phase)>> {
    let mut rooms = Vec::new();
    for row in snapshot.scan_prefix(tables::SWEEPS, b"") {
        let (key, value) = row?;
        let room: [u8; 16] = key.as_ref().try_into().map_err(Error::internal)?;
        let phase = Row::decode(Some(value))?.phase();
        if phase != Phase::Idle {
            rooms.push((RoomKey::from_bytes(room), phase));
        }
    }
    Ok(rooms)
}

/// A room's sweep epoch at a snapshot.
///
/// What is written in several batches and becomes visible with the last of them (the nodes of a state that a join brings) begins
/// only while nothing is condemned, and names the epoch in each: a conflict, or another epoch in the end, means that a sweep came
/// between and may have taken the first for litter, so that all of them have to be written again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    room: RoomKey,
    row: Row,
}

impl Epoch {
    /// The epoch of a room.
    ///
    /// # Errors
    /// A failing store.
    pub fn read(snapshot: &Snapshot, room: RoomKey) -> Result<Self> {
        Ok(Self { room, row: Row::read(snapshot, room)? })
    }

    /// Lets a batch apply only in this epoch.
    pub fn require(&self, batch: &mut Batch) {
        self.row.require(self.room, batch);
    }

    /// Whether nodes are condemned in this epoch.
    #[must_use]
    pub fn is_condemned(&self) -> bool {
        self.row.phase() == Phase::Condemned
    }

    /// Whether who names this epoch may take a state out of use: not while nodes are condemned, nor while events may be (see [`super`]).
    #[must_use]
    pub fn lets_states_go(&self) -> bool {
        match self.row.phase() {
            Phase::Idle => true,
            Phase::Condemning => self.row.rest().is_empty(),
            Phase::Condemned | Phase::Removing => false,
        }
    }

    /// Whether all that is stored about the room is being deleted in this epoch.
    #[must_use]
    pub fn is_removing(&self) -> bool {
        self.row.phase() == Phase::Removing
    }
}
