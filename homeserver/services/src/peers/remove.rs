//! Removing rooms that no user of this server is in, beside joins through other servers.

use super::Peers;
use crate::error::{Error, Result};
use crate::rooms::sweep::{Epoch, Removed, STEP};
use state_res::ids::RoomKey;
use std::time::Duration;

/// How often a join looks whether the room that it enters is still being removed.
const PAUSE: Duration = Duration::from_millis(500);
/// How many times it does so before it gives up.
const MAX_LOOKS: usize = 30;

impl Peers {
    /// Deletes all that is stored about a room: its events and states, who was in it, what waits for other servers. Users who join it again find
    /// what other servers have. A removal that breaks off goes on at the next start, or when this is called again.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND` for an unknown room; 403 `M_FORBIDDEN` while a user of this server is in it, invited to it or asks to be let in; 409
    /// where a sweep or purge of the room, or a join to it, is under way; a failing store.
    pub async fn remove_room(&self, room_id: &str) -> Result<Removed> {
        self.remove_room_in_steps(room_id, STEP).await
    }

    /// [`Self::remove_room`] in steps of about `step` bytes.
    ///
    /// # Errors
    /// As [`Self::remove_room`].
    pub async fn remove_room_in_steps(&self, room_id: &str, step: usize) -> Result<Removed> {
        let room = RoomKey::of(room_id);
        // A join writes what it needs before it makes the room ours: it has to be over, or not begun. Each of the two says that it is under
        // way before it looks for the other.
        let _under_way = self.removals.begin(room, self.world().now().millis());
        if self.joins.ending(room).is_some() {
            return Err(Error::new(409, "M_UNKNOWN", format!("A user of this server is just joining {room_id}.")));
        }
        let removal = self.rooms.begin_removal(room_id, step).await?;
        removal.finish().await
    }

    /// Waits until nothing is left of a room that is being removed. Whoever calls this has said that a join is under way, so that no removal
    /// begins.
    ///
    /// # Errors
    /// 503 where it takes too long; a failing store.
    pub(super) async fn wait_until_removed(&self, room_id: &str) -> Result<()> {
        for _ in 0..MAX_LOOKS {
            let room = RoomKey::of(room_id);
            let is_left_over = Epoch::read(&self.rooms.deps().store.snapshot(), room)?.is_removing();
            if !is_left_over && self.removals.ending(room).is_none() {
                return Ok(());
            }
            self.world().sleep(PAUSE).await;
        }
        Err(Error::new(503, "M_UNKNOWN", format!("{room_id} is being deleted here at this moment; try again."))
            .with("retry_after_ms", 10_000))
    }
}
