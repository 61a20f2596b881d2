//! Joins that break off. Entering a room through another server takes many batches, of which only the last makes the room visible; before
//! the first, a row says that a join is under way. Whoever finds the row and no room undoes what is there: the next join here, or the next
//! start.
//!
//! Undone is what says something of the room's state, which the server that was asked may have made up: who is in it, and which servers.
//! Events and nodes stay; they are named by their hashes, claim nothing by themselves, and the next join uses them.

use super::Peers;
use crate::error::Result;
use crate::rooms::reader::room_key;
use crate::tables;
use state_res::ids::RoomKey;
use storage::{Batch, Outcome, key};

impl Peers {
    /// Says that a join is under way to a room that is not here, and clears away what an earlier one left.
    pub(super) async fn begin_join(&self, room_id: &str) -> Result<()> {
        let mut batch = self.undoing(RoomKey::of(room_id));
        batch.put(tables::JOINS, RoomKey::of(room_id).as_bytes(), room_id.as_bytes());
        self.commit(batch).await
    }

    /// Undoes a join that broke off; does nothing where the room is here.
    pub(super) async fn undo_join(&self, room: RoomKey) -> Result<()> {
        let mut batch = self.undoing(room);
        batch.delete(tables::JOINS, room.as_bytes());
        match self.rooms.deps().store.commit(batch).await {
            // The room is here, and its last batch took the row away.
            Outcome::Committed(_) | Outcome::Conflict(_) => Ok(()),
            Outcome::Unknown(cause) => Err(cause.into()),
        }
    }

    fn undoing(&self, room: RoomKey) -> Batch {
        let mut batch = Batch::with_random_id(self.world());
        batch.require_absent(tables::HEAD, room.as_bytes());
        let start = room_key(room, &[]);
        let end = key::prefix_end(&start);
        for table in [tables::MEMBERS, tables::ROOM_SERVERS] {
            batch.delete_range(table, &start, &end);
        }
        batch
    }

    /// Undoes the joins that were under way when the server ended. Call it before anybody is served.
    ///
    /// # Errors
    /// A failing store.
    pub async fn undo_broken_joins(&self) -> Result<()> {
        let snapshot = self.rooms.deps().store.snapshot();
        for row in snapshot.scan_prefix(tables::JOINS, &[]) {
            let (row, room_id) = row?;
            let Ok(room) = <[u8; 16]>::try_from(row.as_ref()) else { continue };
            tracing::info!(room = %String::from_utf8_lossy(&room_id), "a join that broke off is undone");
            self.undo_join(RoomKey::from_bytes(room)).await?;
        }
        Ok(())
    }
}
