//! Ending an invite or a knock to a room of which we hold no state. For the user it is over at once. The room has to hear of it from one of
//! its servers, and these may be away: then a row says what they have yet to be told, and they are told when they are back.

use super::join::MAX_SERVERS;
use super::{Peers, remote_error};
use crate::commit::commit;
use crate::error::{Error, Result};
use crate::rooms::memberships::{self, Change, Outside};
use crate::rooms::{Membership, user_topic};
use crate::tables;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use state_res::ids::{RoomKey, UserKey};
use std::collections::HashMap;
use std::time::Duration;
use storage::{Batch, Version};
use tokio_util::sync::CancellationToken;

/// How long other servers have to take note while the user waits.
const TIMEOUT: Duration = Duration::from_secs(20);
/// For how long one is told again.
const MAX_WAIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How often it is looked whether someone is to be told again.
const LOOK: Duration = Duration::from_secs(60);
/// Longest pause before one is told again; up to that, it is a fifth of the time since.
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);
/// Ended invites and knocks of one user of which rooms have yet to hear. Of more than that, they do not.
const MAX_OF_USER: usize = 100;

/// A row of `UNTOLD`: a membership that has ended, of which the room does not know.
#[derive(Debug, Serialize, Deserialize)]
struct Untold {
    user_id: String,
    room_id: String,
    /// Those that may pass it on.
    servers: Vec<String>,
    /// What the event says.
    content: Map<String, Value>,
    /// In milliseconds.
    since: u64,
}

impl Untold {
    /// Servers that have refused for good have nothing to be told.
    fn without(mut self, refused: &[String]) -> Option<Self> {
        self.servers.retain(|server| !refused.contains(server));
        (!self.servers.is_empty()).then_some(self)
    }
}

impl Peers {
    /// Ends an invite or knock to a room of which we hold no state: tells a server in the room, now or when one is back.
    ///
    /// # Errors
    /// A failing store.
    pub async fn leave_remote(
        &self,
        user_id: &str,
        room_id: &str,
        servers: &[String],
        content: &Map<String, Value>,
    ) -> Result<()> {
        let servers =
            servers.iter().filter(|server| *server != self.server_name()).take(MAX_SERVERS).cloned().collect();
        let (user_id, room_id) = (user_id.to_owned(), room_id.to_owned());
        let since = self.world().now().millis();
        let untold = self.tell(Untold {
            user_id: user_id.clone(),
            room_id: room_id.clone(),
            servers,
            content: content.clone(),
            since,
        });
        let (user, room) = (UserKey::of(&user_id), RoomKey::of(&room_id));
        let untold = untold.await.filter(|_| {
            let rows = self.rooms.deps().store.snapshot();
            rows.scan_prefix(tables::UNTOLD, user.as_bytes()).take(MAX_OF_USER).count() < MAX_OF_USER
        });
        let later = untold.map(|untold| serde_json::to_vec(&untold)).transpose().map_err(Error::internal)?;
        let keep = |batch: &mut Batch| {
            if let Some(later) = &later {
                batch.put(tables::UNTOLD, &row(user, room), later);
            }
        };
        self.write_membership_with(&user_id, &room_id, Membership::Leave, Outside::default(), keep).await
    }

    /// Tells the first server that takes note; gives what is left to be told, and to whom.
    async fn tell(&self, untold: Untold) -> Option<Untold> {
        let mut refused = Vec::new();
        let telling = async {
            for server in &untold.servers {
                match self.leave_through(server, &untold).await {
                    Ok(()) => return true,
                    Err(error) => {
                        tracing::info!(%server, room = %untold.room_id, %error, "leaving through this server failed");
                        if (400..500).contains(&error.status) && error.status != 429 {
                            refused.push(server.clone());
                        }
                    }
                }
            }
            false
        };
        // The user may wait, and the other servers may be gone for good.
        match self.world().timeout(TIMEOUT, telling).await {
            Ok(true) => None,
            Ok(false) | Err(_) => untold.without(&refused),
        }
    }

    async fn leave_through(&self, server: &str, untold: &Untold) -> Result<()> {
        let Untold { user_id, room_id, content, .. } = untold;
        let template = self.client.make_leave(server, room_id, user_id).await.map_err(|error| remote_error(&error))?;
        let (_, leave) = self.complete(&template, "leave", user_id, room_id, content)?;
        let bytes = leave.canonical().to_vec().into();
        self.client.send_leave(server, room_id, leave.event_id(), bytes).await.map_err(|error| remote_error(&error))
    }

    /// Tells other servers of ended invites and knocks who were away, until `stopping` is cancelled.
    pub(crate) async fn tell_later(self, stopping: CancellationToken) {
        let mut last_tried: HashMap<Bytes, u64> = HashMap::new();
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                () = self.world().sleep(LOOK) => {}
            }
            let telling = self.tell_all(&mut last_tried);
            let told = tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                told = telling => told,
            };
            if let Err(error) = told {
                tracing::error!(%error, "the rooms that have yet to hear of ended invites cannot be told");
            }
        }
    }

    async fn tell_all(&self, last_tried: &mut HashMap<Bytes, u64>) -> Result<()> {
        let rows: Vec<(Bytes, Bytes)> = self
            .rooms
            .deps()
            .store
            .snapshot()
            .scan_prefix(tables::UNTOLD, b"")
            .collect::<std::result::Result<_, _>>()?;
        last_tried.retain(|tried, _| rows.iter().any(|(row, _)| row == tried));
        for (row, value) in rows {
            let untold: Untold = serde_json::from_slice(&value)
                .map_err(|_| Error::internal("a row of table UNTOLD cannot be read: the data directory is damaged"))?;
            let now = self.world().now().millis();
            if let Some(tried) = last_tried.get(&row) {
                let pause = Duration::from_millis(tried.saturating_sub(untold.since) / 5).min(MAX_PAUSE);
                if now < tried.saturating_add(pause.as_millis() as u64) {
                    continue;
                }
            }
            last_tried.insert(row.clone(), now);
            let is_late = Duration::from_millis(now.saturating_sub(untold.since)) >= MAX_WAIT;
            let left = if is_late || !self.is_left(&untold)? { None } else { self.tell(untold).await };
            if left.is_none() {
                let mut batch = Batch::with_random_id(self.world());
                batch.require_version(tables::UNTOLD, &row, Version::of(&value));
                batch.delete(tables::UNTOLD, &row);
                // A conflict means that it has ended anew meanwhile.
                commit(&self.rooms.deps().store, batch).await?;
            }
        }
        Ok(())
    }

    /// Whether the membership is still over, as far as we know.
    fn is_left(&self, untold: &Untold) -> Result<bool> {
        let snapshot = self.rooms.deps().store.snapshot();
        let row = memberships::of_user_in(&snapshot, UserKey::of(&untold.user_id), RoomKey::of(&untold.room_id))?;
        Ok(row.is_none_or(|row| row.membership == Membership::Leave))
    }

    /// Writes a local user's membership of a room of which we hold no state.
    pub(super) async fn write_membership(
        &self,
        user_id: &str,
        room_id: &str,
        membership: Membership,
        outside: Outside<'_>,
    ) -> Result<()> {
        self.write_membership_with(user_id, room_id, membership, outside, |_| ()).await
    }

    /// [`Self::write_membership`], with what else belongs into its batch.
    async fn write_membership_with(
        &self,
        user_id: &str,
        room_id: &str,
        membership: Membership,
        outside: Outside<'_>,
        more: impl FnOnce(&mut Batch),
    ) -> Result<()> {
        let (user, room) = (UserKey::of(user_id), RoomKey::of(room_id));
        let deps = self.rooms.deps();
        let previous = memberships::of_user_in(&deps.store.snapshot(), user, room)?.map(|row| row.membership);
        let mut batch = Batch::with_random_id(self.world());
        let change = Change { user, room, room_id, membership, previous, event: None, ordinal: 0 };
        memberships::write_remote(&mut batch, &change, &outside);
        // Of what was before nobody has to hear any more.
        batch.delete(tables::UNTOLD, &row(user, room));
        more(&mut batch);
        batch.topic(user_topic(user));
        deps.user_rooms.begin(&[user]);
        let result = self.commit(batch).await;
        deps.user_rooms.end(&[user]);
        result
    }
}

fn row(user: UserKey, room: RoomKey) -> Vec<u8> {
    [&user.as_bytes()[..], room.as_bytes()].concat()
}
