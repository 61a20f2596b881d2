//! Room aliases of this server.

use super::{NewEvent, RoomWriter, Rooms};
use crate::commit::{commit, commit_freely};
use crate::error::{Error, Result};
use crate::names;
use crate::tables;
use serde_json::Value;
use state_res::ids::{RoomKey, UserKey};
use storage::{Batch, Snapshot, key};

/// A row of table `ALIASES`.
#[derive(Debug, Clone)]
pub struct Alias {
    /// The room it leads to.
    pub room_id: String,
    /// Who made it.
    pub creator: String,
}

fn alias_key(alias: &str) -> Vec<u8> {
    key::Writer::new().str(alias).finish()
}

fn by_room_key(room: RoomKey, alias: &str) -> Vec<u8> {
    super::reader::room_key(room, alias.as_bytes())
}

/// Checks the localpart of an alias to be made.
///
/// # Errors
/// 400 `M_INVALID_PARAM`.
pub fn check_localpart(localpart: &str, server_name: &str) -> Result<()> {
    let bad = localpart.is_empty() || localpart.contains([':', '\0']) || localpart.len() + server_name.len() + 2 > 255;
    if bad {
        return Err(Error::invalid_param(format!(
            "{localpart:?} cannot be the local part of an alias: it must have 1 to {} bytes and neither a colon nor a NUL.",
            253_usize.saturating_sub(server_name.len())
        )));
    }
    Ok(())
}

fn in_use(alias: &str) -> Error {
    Error::new(400, "M_ROOM_IN_USE", format!("The alias {alias} is already taken."))
}

/// Adds an alias for the room being written.
pub(super) fn add(writer: &mut RoomWriter<'_>, alias: &str, creator: &str) -> Result<()> {
    let row = alias_key(alias);
    if writer.reader.snapshot().get(tables::ALIASES, &row)?.is_some() {
        return Err(in_use(alias));
    }
    let room = writer.reader.room();
    let room_id = writer.room_id().to_owned();
    put(writer.batch(), alias, room, &room_id, creator);
    Ok(())
}

fn put(batch: &mut Batch, alias: &str, room: RoomKey, room_id: &str, creator: &str) {
    let row = alias_key(alias);
    batch.require_absent(tables::ALIASES, &row);
    batch.put(tables::ALIASES, &row, &key::Writer::new().str(room_id).str(creator).finish());
    batch.put(tables::ROOM_ALIASES, &by_room_key(room, alias), b"");
}

/// Keys of the rows of table `ALIASES` that lead to a room.
pub(super) fn rows_leading_to(snapshot: &Snapshot, room: RoomKey) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for row in snapshot.scan_prefix(tables::ROOM_ALIASES, room.as_bytes()) {
        let alias = String::from_utf8_lossy(row?.0.get(16..).unwrap_or_default()).into_owned();
        let row = alias_key(&alias);
        if let Some(value) = snapshot.get(tables::ALIASES, &row)?
            && RoomKey::of(&key::Reader::new(&value).str()?) == room
        {
            found.push(row);
        }
    }
    Ok(found)
}

impl Rooms {
    /// Where a local alias leads.
    pub fn alias(&self, alias: &str) -> Result<Option<Alias>> {
        let Some(row) = self.deps().store.snapshot().get(tables::ALIASES, &alias_key(alias))? else { return Ok(None) };
        let mut row = key::Reader::new(&row);
        Ok(Some(Alias { room_id: row.str()?, creator: row.str()? }))
    }

    /// Local aliases of a room.
    pub fn local_aliases(&self, room_id: &str) -> Result<Vec<String>> {
        let snapshot = self.deps().store.snapshot();
        let mut aliases = Vec::new();
        for row in snapshot.scan_prefix(tables::ROOM_ALIASES, RoomKey::of(room_id).as_bytes()) {
            aliases.push(String::from_utf8_lossy(row?.0.get(16..).unwrap_or_default()).into_owned());
        }
        Ok(aliases)
    }

    /// `PUT /directory/room/{roomAlias}`.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` for an alias of another server or form, 404 for an unknown room, 409 `M_UNKNOWN` if it exists.
    pub async fn add_alias(&self, user_id: &str, alias: &str, room_id: &str) -> Result<()> {
        if !names::is_room_alias(alias) {
            return Err(Error::invalid_param(format!("{alias:?} is no room alias; it should look like #name:server.")));
        }
        if names::server_of(alias) != Some(self.deps().server_name.as_str()) {
            return Err(Error::invalid_param(format!("The alias {alias} belongs to another server.")));
        }
        check_localpart(names::localpart_of(alias).unwrap_or_default(), &self.deps().server_name)?;
        let (reader, _) = self.known(room_id)?;
        match reader.member(UserKey::of(user_id))? {
            Some(member) if member.membership == super::Membership::Join => {}
            _ => return Err(Error::forbidden(format!("You are not joined to {room_id}."))),
        }
        let mut batch = Batch::with_random_id(&self.deps().world);
        put(&mut batch, alias, RoomKey::of(room_id), room_id, user_id);
        let taken = || Error::new(409, "M_UNKNOWN", format!("The alias {alias} is already taken."));
        commit(&self.deps().store, batch).await?.map(drop).ok_or_else(taken)
    }

    /// `DELETE /directory/room/{roomAlias}`: by who made it, or by who may set the room's canonical alias. Where the user may, it goes from
    /// `m.room.canonical_alias`, too.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND`, 403 `M_FORBIDDEN`.
    pub async fn remove_alias(&self, user_id: &str, alias: &str) -> Result<()> {
        let found = self.alias(alias)?.ok_or_else(|| Error::not_found(format!("There is no alias {alias}.")))?;
        if found.creator != user_id && !self.may_set(&found.room_id, user_id, "m.room.canonical_alias")? {
            return Err(Error::forbidden(format!("Only who made {alias}, or a moderator of its room, may remove it.")));
        }
        let mut batch = Batch::with_random_id(&self.deps().world);
        batch.delete(tables::ALIASES, &alias_key(alias));
        batch.delete(tables::ROOM_ALIASES, &by_room_key(RoomKey::of(&found.room_id), alias));
        commit_freely(&self.deps().store, batch).await?;
        if self.may_set(&found.room_id, user_id, "m.room.canonical_alias")?
            && let Err(error) = self.withdraw_alias(user_id, alias, &found.room_id).await
        {
            tracing::warn!(room = %found.room_id, alias, %error, "the room still names an alias that was removed");
        }
        Ok(())
    }

    /// Takes an alias out of a room's `m.room.canonical_alias`, if it is there.
    async fn withdraw_alias(&self, user_id: &str, alias: &str, room_id: &str) -> Result<()> {
        self.write(room_id, |writer| {
            let Some(event) = writer.current("m.room.canonical_alias", "")? else { return Ok(()) };
            let mut content = event.content().clone();
            if content.get("alias").and_then(Value::as_str) == Some(alias) {
                content.remove("alias");
            }
            if let Some(Value::Array(others)) = content.get_mut("alt_aliases") {
                others.retain(|other| other.as_str() != Some(alias));
            }
            if content == *event.content() {
                return Ok(());
            }
            writer.send(NewEvent::state(user_id, "m.room.canonical_alias", "", content)).map(drop)
        })
        .await
        .map(|((), _)| ())
    }

    /// Makes the local aliases of one room lead to another.
    ///
    /// # Errors
    /// A failing store.
    pub async fn move_aliases(&self, from: &str, to: &str) -> Result<()> {
        for alias in self.local_aliases(from)? {
            let Some(found) = self.alias(&alias)?.filter(|found| found.room_id == from) else { continue };
            let mut batch = Batch::with_random_id(&self.deps().world);
            batch.put(tables::ALIASES, &alias_key(&alias), &key::Writer::new().str(to).str(&found.creator).finish());
            batch.delete(tables::ROOM_ALIASES, &by_room_key(RoomKey::of(from), &alias));
            batch.put(tables::ROOM_ALIASES, &by_room_key(RoomKey::of(to), &alias), b"");
            commit_freely(&self.deps().store, batch).await?;
        }
        Ok(())
    }

    /// Whether a joined user has the power to send the state event `event_type` in a room.
    pub fn may_set(&self, room_id: &str, user_id: &str, event_type: &str) -> Result<bool> {
        let Ok((reader, head)) = self.known(room_id) else { return Ok(false) };
        let joined =
            reader.member(UserKey::of(user_id))?.is_some_and(|member| member.membership == super::Membership::Join);
        Ok(joined && super::power::Power::at(&reader, head.root)?.may_send(user_id, event_type, true))
    }
}
