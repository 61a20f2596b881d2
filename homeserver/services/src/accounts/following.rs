//! What follows in rooms from a change of an account: member events after a new display name, leaving after the end of the
//! account. An intent row is written with the change and removed when all is done, so that a crash in between forgets nothing.

use super::{
    commit,
    record::{from_bytes, to_bytes},
};
use crate::{
    Error, Result, Services,
    peers::Peers,
    rooms::{Membership, Rooms, memberships},
    tables,
};
use net::World;
use serde::{Deserialize, Serialize};
use state_res::ids::UserKey;
use storage::{Batch, Store, Version, key};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Member events carry the new display name and avatar.
    Profile,
    /// The user leaves every room.
    Departure,
}

/// A row of `ACCOUNT_WORK`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Work {
    kind: Kind,
    user_id: String,
    /// Random, so that work that is done does not take with it the intent of a change that came after it.
    number: u64,
}

/// Adds the intent to `batch`.
pub(super) fn add(batch: &mut Batch, world: &World, kind: Kind, user_id: &str) -> Work {
    let number = u64::from_be_bytes(world.random_bytes());
    let work = Work { kind, user_id: user_id.to_owned(), number };
    batch.put(tables::ACCOUNT_WORK, &work.key(), &to_bytes(&work));
    work
}

impl Work {
    fn key(&self) -> Vec<u8> {
        key::Writer::new().id16(UserKey::of(&self.user_id).as_bytes()).u8(self.kind as u8).finish()
    }

    async fn run(self, peers: Peers, rooms: Rooms, store: Store, world: World) -> Result<()> {
        match self.kind {
            Kind::Profile => rooms.profile_changed(&self.user_id).await?,
            Kind::Departure => leave_all(&peers, &store, &self.user_id).await?,
        }
        let mut batch = Batch::with_random_id(&world);
        // A conflict means that there is newer work of this kind, which sees to its own row.
        batch.require_version(tables::ACCOUNT_WORK, &self.key(), Version::of(&to_bytes(&self)));
        batch.delete(tables::ACCOUNT_WORK, &self.key());
        commit(&store, batch).await.map(drop)
    }
}

impl Services {
    /// Finishes what an earlier run of the program left half done. Call it once after the start.
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub async fn finish_account_work(&self) -> Result<()> {
        let snapshot = self.store.snapshot();
        for row in snapshot.scan_prefix(tables::ACCOUNT_WORK, &[]) {
            let work: Work = from_bytes(tables::ACCOUNT_WORK, &row?.1)?;
            self.follow(work).await?;
        }
        Ok(())
    }

    /// Does the work in a task of its own, which goes on if the client that waits for it hangs up.
    pub(super) async fn follow(&self, work: Work) -> Result<()> {
        let run = work.run(self.peers.clone(), self.rooms.clone(), self.store.clone(), self.world.clone());
        self.world.spawn("account work", run).join().await.map_err(Error::internal)?
    }
}

/// Leaves every room, rejects every invite and takes back every knock.
async fn leave_all(peers: &Peers, store: &Store, user_id: &str) -> Result<()> {
    for row in memberships::of_user(&store.snapshot(), UserKey::of(user_id))? {
        if !matches!(row.membership, Membership::Join | Membership::Invite | Membership::Knock) {
            continue;
        }
        if let Err(error) = peers.leave_room(user_id, &row.room_id, None).await {
            tracing::warn!(room = %row.room_id, %error, "a deactivated account could not leave a room");
        }
    }
    Ok(())
}
