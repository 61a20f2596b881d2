//! Users of ours who asked for their content to be erased when they left (client-server API, "Account deactivation"): who joins a
//! room after that is served redacted copies of their events, who could see them before goes on seeing them.

use super::memberships::last_join;
use super::reader::{Membership, RoomReader};
use super::standing::Standing;
use crate::error::{Error, Result};
use crate::names::server_of;
use crate::tables;
use arc_swap::ArcSwap;
use state_res::ids::UserKey;
use std::collections::HashMap;
use std::sync::Arc;
use storage::{Batch, Snapshot, key};

/// Erased users and since when, in milliseconds. Few, and asked for with every event that is shown, so all of them are in memory.
#[derive(Default)]
pub struct Erasures(ArcSwap<HashMap<UserKey, i64>>);

impl Erasures {
    /// Reads them.
    ///
    /// # Errors
    /// A failing store.
    pub fn load(&self, snapshot: &Snapshot) -> Result<()> {
        let mut users = HashMap::new();
        for row in snapshot.scan_prefix(tables::ERASED, &[]) {
            let (user, since) = row?;
            let user: [u8; 16] = user
                .as_ref()
                .try_into()
                .map_err(|_| Error::internal("a row of table ERASED cannot be read: the data directory is damaged"))?;
            users.insert(UserKey::from_bytes(user), key::Reader::new(&since).i64()?);
        }
        self.0.store(Arc::new(users));
        Ok(())
    }

    /// Adds to `batch` that a user's content is erased as of `now`; whoever was erased before stays so.
    ///
    /// # Errors
    /// A failing store.
    pub fn write(batch: &mut Batch, snapshot: &Snapshot, user: UserKey, now: i64) -> Result<()> {
        if snapshot.get(tables::ERASED, user.as_bytes())?.is_none() {
            batch.put(tables::ERASED, user.as_bytes(), &key::Writer::new().i64(now).finish());
        }
        Ok(())
    }

    /// Since when the content of the sender is erased, if it is. On a server where nobody ever asked for that, this costs nothing.
    #[must_use]
    pub fn since<S: AsRef<str>>(&self, sender: impl FnOnce() -> S) -> Option<i64> {
        let users = self.0.load();
        if users.is_empty() {
            return None;
        }
        users.get(&UserKey::of(sender().as_ref())).copied()
    }
}

/// Whether an event of `sender` is erased for a server: none of its users was joined at the event, nor joined before the erasure.
///
/// # Errors
/// A failing store.
pub fn is_erased_for(reader: &RoomReader, server: &str, sender: &str, standing: &Standing) -> Result<bool> {
    let Some(since) = reader.erased_since(|| sender) else { return Ok(false) };
    for key in reader.state_of_type(standing.before, "m.room.member")? {
        let pdu = reader.required(key)?;
        if pdu.state_key().and_then(server_of) == Some(server) && Membership::of(&pdu) == Membership::Join {
            return Ok(false);
        }
    }
    for member in reader.members()? {
        if server_of(&member.user_id) == Some(server)
            && last_join(reader, member.event)?.is_some_and(|joined| joined.ts < since)
        {
            return Ok(false);
        }
    }
    Ok(true)
}
