//! The disk space that rooms take, and getting it back.

use super::{Alone, Progress, Stage};
use crate::error::Result;
use crate::rooms::Rooms;
use crate::tables;
use state_res::ids::RoomKey;
use storage::Table;

/// The tables that grow with the events of rooms, and whether their keys begin with the room.
const BULK: &[(Table, bool)] = &[
    (tables::PDUS, false),
    (tables::STANDING, true),
    (tables::NODES, true),
    (tables::AUTH_GRAPH, true),
    (tables::TIMELINE, true),
    (tables::HISTORY, true),
];

impl Rooms {
    /// Bytes on disk of the events and states of all rooms.
    ///
    /// # Errors
    /// A failing store.
    pub async fn disk_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for (table, _) in BULK {
            self.deps.store.flush(*table).await?;
            bytes += self.deps.store.disk_bytes(*table);
        }
        Ok(bytes)
    }

    /// Gives the disk space back that a room's events and states took before they were deleted. Rewrites the events of all rooms.
    ///
    /// # Errors
    /// A failing store.
    pub async fn give_space_back(&self, room_id: &str) -> Result<()> {
        self.give_space_of(RoomKey::of(room_id)).await
    }

    pub(super) async fn give_space_of(&self, room: RoomKey) -> Result<()> {
        // For the sake of who asks how far it is; that something else goes on in the room does no harm.
        let _alone = Alone::new(&self.deps, room).ok();
        for (nth, (table, by_room)) in (0..).zip(BULK) {
            if let Some(progress) = self.deps.sweeping.lock().get_mut(&room) {
                *progress = Progress { stage: Stage::Space, done: nth, of: Some(BULK.len() as u64) };
            }
            self.deps.store.compact_prefix(*table, if *by_room { room.as_bytes() } else { &[] }).await?;
        }
        Ok(())
    }
}
