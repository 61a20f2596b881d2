//! Joins under way: between the request that makes the others send us a room's events and the batch that makes the room ours. Removals of
//! rooms are kept in the same way.

use parking_lot::Mutex;
use state_res::ids::RoomKey;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;

/// The rooms to which joins are under way. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct UnderWay {
    rooms: Arc<Mutex<HashMap<RoomKey, Room>>>,
}

struct Room {
    joins: usize,
    /// When the first of them began, in milliseconds.
    began: u64,
    /// Changed whenever a join ends.
    ended: watch::Sender<()>,
}

/// A join under way, until this is dropped.
pub(super) struct JoinUnderWay {
    rooms: UnderWay,
    room: RoomKey,
}

impl UnderWay {
    /// Says that a join to a room is under way, from `now` on (in milliseconds).
    pub(super) fn begin(&self, room: RoomKey, now: u64) -> JoinUnderWay {
        let mut rooms = self.rooms.lock();
        rooms.entry(room).or_insert_with(|| Room { joins: 0, began: now, ended: watch::Sender::new(()) }).joins += 1;
        JoinUnderWay { rooms: self.clone(), room }
    }

    /// When the first join to a room that is under way began, and what changes when one ends; `None` if there is none.
    pub(super) fn ending(&self, room: RoomKey) -> Option<(u64, watch::Receiver<()>)> {
        self.rooms.lock().get(&room).map(|room| (room.began, room.ended.subscribe()))
    }
}

impl Drop for JoinUnderWay {
    fn drop(&mut self) {
        let mut rooms = self.rooms.rooms.lock();
        let Some(room) = rooms.get_mut(&self.room) else { return };
        room.joins -= 1;
        room.ended.send_replace(());
        if room.joins == 0 {
            rooms.remove(&self.room);
        }
    }
}
