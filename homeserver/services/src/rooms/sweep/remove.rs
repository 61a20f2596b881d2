//! Removing a room whole, once no user of this server is in it.
//!
//! The first batch makes the room unknown: it deletes the head, on the precondition that nobody has written into the room since it was
//! looked at, and enters a phase of the room's row of `SWEEPS` in which no batch that names the epoch goes through. From then on nobody
//! reads the room, and nobody writes into it: who joins it again waits ([`Epoch::is_removing`](super::Epoch::is_removing)). The rest goes
//! in steps. An event's standing goes last of what there is about it, so that a removal that was broken off finds the event again. The
//! last batch deletes, table by table, what is kept by room, and ends the phase.
//!
//! What stays is the users': their account data, and that they once left the room, which a client of theirs may yet have to learn.

use super::epoch::{Phase, Row};
use super::purge::{AT_A_TIME, announced, event_in, rows_by_event, rows_elsewhere, stored};
use super::{Alone, Stage, Sweeper, damaged, interfered};
use crate::accounts::record::AccountRecord;
use crate::error::{Error, Result};
use crate::outbox;
use crate::rooms::Rooms;
use crate::rooms::aliases;
use crate::rooms::reader::{Membership, room_key};
use crate::rooms::standing::Standing;
use crate::tables;
use state_res::ids::{EventKey, RoomKey, UserKey};
use state_res::pdu::Pdu;
use storage::{Batch, Outcome, Snapshot, Table, Version, key};

/// How often the first batch is made again because somebody wrote into the room.
const MAX_TRIES: usize = 8;

/// Tables whose keys begin with the room, all of whose rows about a room go in the end.
const BY_ROOM: &[Table] = &[
    tables::TIMELINE,
    tables::HISTORY,
    tables::THREADS,
    tables::NODES,
    tables::ROOTS,
    tables::MEMBERS,
    tables::ROOM_SERVERS,
    tables::LOCAL_MEMBERS,
    tables::UNANSWERED,
    tables::GAPS,
    tables::AUTH_GRAPH,
    tables::REDACTIONS,
    tables::CONDEMNED,
    tables::CONDEMNED_EVENTS,
    tables::ROOM_ALIASES,
    tables::RECEIPTS,
    tables::RECEIPTS_BY_POSITION,
    tables::DIRECTORY,
    tables::ROOM_IDS,
];

/// What a removal did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Events deleted.
    pub events: u64,
    /// Events that still waited for other servers, and are not sent any more; one counts once for each server.
    pub unsent: u64,
}

/// A room that is no longer known, of which everything is still there.
pub(crate) struct Removal<'a> {
    sweeper: Sweeper<'a>,
    _alone: Alone<'a>,
}

impl Rooms {
    /// Makes a room unknown, so that all that is stored about it can go, in steps of about `step` bytes. No join through another server may be under way.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND` for an unknown room; 403 `M_FORBIDDEN` while a user of this server is in it, invited to it or asks to be let in; 409
    /// where a sweep or purge of the room is under way; a failing store.
    pub(crate) async fn begin_removal(&self, room_id: &str, step: usize) -> Result<Removal<'_>> {
        let room = RoomKey::of(room_id);
        let alone = Alone::new(&self.deps, room)?;
        for _ in 0..MAX_TRIES {
            let handle = self.handle(room);
            let mut queue = handle.head.lock().await;
            let snapshot = self.deps.store.snapshot();
            let row = Row::read(&snapshot, room)?;
            let Some(head) = snapshot.get(tables::HEAD, room.as_bytes())? else {
                if row.phase() == Phase::Removing {
                    // Broken off before; it goes on.
                    return Ok(self.removal(room, row, step, alone));
                }
                return Err(Error::not_found(format!("This server knows no room {room_id}.")));
            };
            self.deps.store.read(move |snapshot| refuse_if_in_use(snapshot, room)).await?;
            let mut batch = Batch::with_random_id(&self.deps.world);
            row.require(room, &mut batch);
            let next = Row::new(Phase::Removing, self.deps.world.random_bytes(), room_id.as_bytes());
            batch.put(tables::SWEEPS, room.as_bytes(), next.bytes());
            batch.require_version(tables::HEAD, room.as_bytes(), Version::of(&head));
            batch.delete(tables::HEAD, room.as_bytes());
            batch.delete(tables::DIRECTORY, room.as_bytes());
            batch.topic(crate::rooms::topic(room));
            match self.deps.store.commit(batch).await {
                Outcome::Committed(_) => {
                    *queue = None;
                    self.deps.caches.forget_past(room);
                    return Ok(self.removal(room, next, step, alone));
                }
                Outcome::Conflict(_) => {}
                Outcome::Unknown(cause) => return Err(cause.into()),
            }
        }
        Err(Error::contended())
    }

    /// Goes on with a removal that was broken off.
    pub(super) async fn finish_removal(&self, room: RoomKey, step: usize) -> Result<Removed> {
        let alone = Alone::new(&self.deps, room)?;
        let row = Row::read(&self.deps.store.snapshot(), room)?;
        if row.phase() != Phase::Removing {
            return Ok(Removed::default());
        }
        self.removal(room, row, step, alone).finish().await
    }

    fn removal<'a>(&'a self, room: RoomKey, row: Row, step: usize, alone: Alone<'a>) -> Removal<'a> {
        Removal { sweeper: Sweeper { deps: &self.deps, room, row, cut: None, step }, _alone: alone }
    }
}

/// Fails where a local user is in a room, or may come in.
fn refuse_if_in_use(snapshot: &Snapshot, room: RoomKey) -> Result<()> {
    let mut rows = snapshot.scan_prefix(tables::MEMBERSHIPS, b"");
    let read = |key: &[u8], value: &[u8]| -> Option<Option<(UserKey, Membership)>> {
        if key.get(16..)? != room.as_bytes() {
            return Some(None);
        }
        Some(Some((UserKey::from_bytes(key.get(..16)?.try_into().ok()?), Membership::from_byte(*value.first()?)?)))
    };
    while let Some(row) = rows.next_with(read) {
        let Some((user, membership)) = row?.ok_or_else(|| damaged(tables::MEMBERSHIPS))? else { continue };
        let how = match membership {
            Membership::Join => "is in this room",
            Membership::Invite => "is invited to this room",
            Membership::Knock => "asks to be let into this room",
            Membership::Leave | Membership::Ban => continue,
        };
        let account = AccountRecord::read(snapshot, user)?;
        let who = account.map_or_else(|| "a user of this server".to_owned(), |account| account.value.user_id);
        return Err(Error::forbidden(format!(
            "{who} {how}; it can be deleted whole only when no user of this server is in it, invited to it or knocking on it"
        )));
    }
    Ok(())
}

/// A row that goes, and the event that goes with it.
struct Going {
    table: Table,
    key: Vec<u8>,
}

/// Events of a room, and all rows about them that are not deleted by room, in the order in which they have to go.
struct Chunk {
    events: Vec<EventKey>,
    rows: Vec<Going>,
    /// Where the next one begins.
    next: Vec<u8>,
}

fn chunk(snapshot: &Snapshot, room: RoomKey, start: &[u8]) -> Result<Chunk> {
    let mut chunk = Chunk { events: Vec::new(), rows: Vec::new(), next: start.to_vec() };
    let end = key::prefix_end(room.as_bytes());
    for row in snapshot.scan(tables::STANDING, start.to_vec()..end).take(AT_A_TIME) {
        let (row, value) = row?;
        let event = event_in(&row)?;
        chunk.next = row.to_vec();
        chunk.next.push(0);
        chunk.events.push(event);
        let mut rows = rows_by_event(snapshot, event)?;
        // What cannot be read goes all the same: this is a way out of damage, too.
        let place = Standing::decode(&value).as_ref().map(announced).unwrap_or_default();
        if let Some(event) = stored(snapshot, event).ok().flatten().filter(|event| event.room() == room) {
            let version = event.version();
            let parse = |version| Pdu::from_stored(version, event.event_id(), event.canonical().to_vec()).ok();
            if let Some(pdu) = version.and_then(parse) {
                rows.extend(rows_elsewhere(&pdu, &place));
            }
            rows.push((tables::PDUS, event.key().as_bytes().to_vec()));
        }
        rows.push((tables::STANDING, row.to_vec()));
        chunk.rows.extend(rows.into_iter().map(|(table, key)| Going { table, key }));
    }
    Ok(chunk)
}

impl Removal<'_> {
    /// Deletes all that there is.
    pub(crate) async fn finish(mut self) -> Result<Removed> {
        // Whoever else goes on with this stops at the new epoch.
        let id = self.sweeper.row.rest().to_vec();
        self.enter(Phase::Removing, &id).await?;
        let unsent = self.delete_unsent().await?;
        let events = self.delete_events().await?;
        self.delete_aliases().await?;
        self.delete_by_room().await?;
        Ok(Removed { events, unsent })
    }

    /// Goes on to a phase, with a new epoch.
    async fn enter(&mut self, phase: Phase, rest: &[u8]) -> Result<()> {
        let next = Row::new(phase, self.sweeper.deps.world.random_bytes(), rest);
        let mut batch = self.sweeper.batch();
        batch.put(tables::SWEEPS, self.sweeper.room.as_bytes(), next.bytes());
        self.commit(batch).await?;
        self.sweeper.row = next;
        Ok(())
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        match self.sweeper.deps.store.commit(batch).await {
            Outcome::Committed(_) => Ok(()),
            Outcome::Conflict(_) => Err(interfered()),
            Outcome::Unknown(cause) => Err(cause.into()),
        }
    }

    /// Takes the room's events out of the queues to other servers.
    async fn delete_unsent(&self) -> Result<u64> {
        let rows = self
            .sweeper
            .read(|snapshot, room| {
                let mut rows = Vec::new();
                for row in snapshot.scan_prefix(tables::OUTBOX, b"") {
                    let (row, value) = row?;
                    let Some((&outbox::PDU, event)) = value.split_first() else { continue };
                    if snapshot.contains(tables::STANDING, &room_key(room, event))? {
                        rows.push(row);
                    }
                }
                Ok(rows)
            })
            .await?;
        self.sweeper
            .steps(&rows, |batch, row| {
                batch.delete(tables::OUTBOX, row);
            })
            .await?;
        Ok(rows.len() as u64)
    }

    async fn delete_events(&self) -> Result<u64> {
        let (mut deleted, mut start) = (0, self.sweeper.room.as_bytes().to_vec());
        loop {
            self.sweeper.note(Stage::Events, deleted, None);
            let from = start.clone();
            let chunk = self.sweeper.read(move |snapshot, room| chunk(snapshot, room, &from)).await?;
            if chunk.events.is_empty() {
                return Ok(deleted);
            }
            self.sweeper
                .steps(&chunk.rows, |batch, going| {
                    batch.delete(going.table, &going.key);
                })
                .await?;
            self.sweeper.deps.caches.forget_events(self.sweeper.room, &chunk.events);
            deleted += chunk.events.len() as u64;
            start = chunk.next;
        }
    }

    /// Deletes this server's aliases of the room.
    async fn delete_aliases(&self) -> Result<()> {
        let rows = self.sweeper.read(aliases::rows_leading_to).await?;
        self.sweeper
            .steps(&rows, |batch, row| {
                batch.delete(tables::ALIASES, row);
            })
            .await
    }

    async fn delete_by_room(&self) -> Result<()> {
        let Sweeper { deps, room, .. } = self.sweeper;
        let mut batch = self.sweeper.batch();
        let (start, end) = (room.as_bytes().to_vec(), key::prefix_end(room.as_bytes()));
        for table in BY_ROOM {
            batch.delete_range(*table, &start, &end);
        }
        // The row stays: who prepared a batch before all this must not find an epoch of then.
        batch.put(tables::SWEEPS, room.as_bytes(), Row::new(Phase::Idle, deps.world.random_bytes(), &[]).bytes());
        self.commit(batch).await?;
        deps.caches.forget_room(room);
        Ok(())
    }
}
