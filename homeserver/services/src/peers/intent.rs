//! Joins that break off. Entering a room through another server takes many batches, of which only the last makes the room visible; before
//! the first, a row says that a join is under way, and the last deletes it.
//!
//! A join that breaks off undoes at once what says something of the room's state, which the server that was asked may have made up: who is in
//! it, and which servers. Events and nodes stay, as another join to the same room may be about to use them; they are named by their hashes and
//! claim nothing by themselves. The row stays too, and where there still is no room at the next start, everything goes.

use super::Peers;
use crate::error::{Error, Result};
use crate::rooms::reader::room_key;
use crate::rooms::record::StoredEvent;
use crate::tables;
use state_res::ids::{EventKey, RoomKey};
use storage::{Batch, Outcome, Snapshot, key};

/// Bytes of one step of bulk work.
const STEP: usize = 256 * 1024;

impl Peers {
    /// Says that a join is under way to a room that is not here; does nothing where it is.
    pub(super) async fn note_join(&self, room_id: &str) -> Result<()> {
        let room = RoomKey::of(room_id);
        let mut batch = self.batch_without(room);
        batch.put(tables::JOINS, room.as_bytes(), room_id.as_bytes());
        self.commit_unless_here(batch).await
    }

    /// Undoes what joins to a room have said of its state; does nothing where the room is here. The caller holds its lock.
    pub(super) async fn undo_join(&self, room: RoomKey) -> Result<()> {
        let mut batch = self.batch_without(room);
        delete_ranges(&mut batch, room, &[tables::MEMBERS, tables::ROOM_SERVERS, tables::LOCAL_MEMBERS]);
        self.commit_unless_here(batch).await
    }

    /// Clears away what broken joins have left, whenever they broke. Call it before anybody is served.
    ///
    /// # Errors
    /// A failing store.
    pub async fn undo_broken_joins(&self) -> Result<()> {
        let snapshot = self.rooms.deps().store.snapshot();
        for row in snapshot.scan_prefix(tables::JOINS, &[]) {
            let (row, room_id) = row?;
            let Ok(room) = <[u8; 16]>::try_from(row.as_ref()) else { continue };
            tracing::info!(room = %String::from_utf8_lossy(&room_id), "a join that broke off is undone");
            self.clear(&snapshot, RoomKey::from_bytes(room)).await?;
        }
        Ok(())
    }

    /// Deletes everything of a room that is not here, its row in `JOINS` last: then there is nothing left to do.
    async fn clear(&self, snapshot: &Snapshot, room: RoomKey) -> Result<()> {
        let mut batch = self.batch_without(room);
        for row in snapshot.scan_prefix(tables::STANDING, &room_key(room, &[])) {
            let (row, _) = row?;
            let Some(event) = row.get(16..).and_then(|event| <[u8; 16]>::try_from(event).ok()) else { continue };
            let event = EventKey::from_bytes(event);
            // Events are stored under their ids alone, which in old room versions their senders choose.
            let stored = snapshot.get(tables::PDUS, event.as_bytes())?.and_then(|row| StoredEvent::decode(event, row));
            if stored.is_some_and(|stored| stored.room() == room) {
                batch.delete(tables::PDUS, event.as_bytes());
            }
            if batch.encoded_len() >= STEP {
                self.commit_unless_here(std::mem::replace(&mut batch, self.batch_without(room))).await?;
            }
        }
        let by_room = [
            tables::MEMBERS,
            tables::ROOM_SERVERS,
            tables::LOCAL_MEMBERS,
            tables::NODES,
            tables::STANDING,
            tables::AUTH_GRAPH,
        ];
        delete_ranges(&mut batch, room, &by_room);
        batch.delete(tables::JOINS, room.as_bytes());
        self.commit_unless_here(batch).await
    }

    /// A batch that applies only while a room is not here.
    fn batch_without(&self, room: RoomKey) -> Batch {
        let mut batch = Batch::with_random_id(self.world());
        batch.require_absent(tables::HEAD, room.as_bytes());
        batch
    }

    async fn commit_unless_here(&self, batch: Batch) -> Result<()> {
        match self.rooms.deps().store.commit(batch).await {
            // A conflict says that the room is here; the batch that brought it took the row away.
            Outcome::Committed(_) | Outcome::Conflict(_) => Ok(()),
            Outcome::Unknown(cause) => Err(Error::from(cause)),
        }
    }
}

fn delete_ranges(batch: &mut Batch, room: RoomKey, tables: &[storage::Table]) {
    let start = room_key(room, &[]);
    let end = key::prefix_end(&start);
    for table in tables {
        batch.delete_range(*table, &start, &end);
    }
}
