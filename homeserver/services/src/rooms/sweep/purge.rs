//! Purging: deleting a room's events before a point of its history.
//!
//! It is a sweep ([`super`]) whose first phase condemns events too, in `CONDEMNED_EVENTS`: all that have their place before the cut
//! and are no forward extremities, and what earlier purges left of others. Their standings no longer hold states in use, so the states go with them. In the
//! second phase a condemned event that is still needed, because a state names it or it is in the auth chain of an event that stays,
//! becomes an outlier, and any other goes, with all rows about it; and writers who cite a condemned event say in its row that
//! its bytes have to stay. That an event was redacted stays known, and so it is redacted if it comes again. Where an event that stays follows one that goes, a gap is noted: clients stop there, or other servers are
//! asked.

use super::mark::names;
use super::{Stage, Sweeper, damaged, interfered};
use crate::clock;
use crate::error::{Error, Result};
use crate::rooms::head::Head;
use crate::rooms::history::HistoryKey;
use crate::rooms::reader::room_key;
use crate::rooms::record::StoredEvent;
use crate::rooms::standing::Standing;
use crate::tables;
use bytes::Bytes;
use state_res::ids::{EventKey, RoomKey};
use state_res::pdu::Pdu;
use std::collections::{BTreeSet, HashSet};
use storage::{Batch, Outcome, Position, Snapshot, Version, key};

/// Events deleted at a time, before the size of a step is looked at.
pub(super) const AT_A_TIME: usize = 256;
/// About what the deletion of one row takes in a batch.
const ROW_BYTES: usize = 64;
/// Bytes of a live event's history key.
const LIVE_KEY: usize = 10;
/// What a row of `CONDEMNED_EVENTS` says: the event goes, or at least its bytes stay.
pub(super) const GOES: &[u8] = &[0];
pub(super) const STAYS: &[u8] = &[1];
/// Its value for one that goes and cannot be kept any more, since rows about it have gone.
pub(super) const CLAIMED: &[u8] = &[2];

/// Where a purge cuts: what lies before this place in history goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut(HistoryKey);

impl Cut {
    /// The cut in a row of `SWEEPS`; nothing for a sweep that purges nothing.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= 8).then(|| Self(HistoryKey::from_bytes(bytes)))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The position at or before which everything that goes was announced.
    pub(super) fn position(&self) -> Position {
        self.0.as_bytes().first_chunk().map_or(0, |position| Position::from_be_bytes(*position))
    }

    fn dooms(&self, standing: &Standing) -> bool {
        match &standing.history {
            _ if standing.is_outlier() => standing.is_leftover(),
            Some(place) => *place < self.0,
            None => standing.position < self.position(),
        }
    }
}

/// What a purge finds before it begins.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Where it cuts; nothing where no event is older.
    pub(super) cut: Option<Cut>,
    /// Older events that nothing follows.
    pub(super) unfollowed: u64,
    /// Where there is no cut: events that are older by their own word, behind newer ones.
    pub(super) misplaced: u64,
}

/// How old an event in history is.
enum Age {
    Older,
    Newer,
    /// That is not known.
    Unknown,
}

/// The cut that lets go what is older than `before` and keeps the room's newest event; `now` is what our clock says (both in milliseconds).
///
/// What was announced here before that time is older, whatever its timestamp says, and so is all history behind it. From there on, history
/// is followed up to the first event that is newer. What is not dated by our clock ([`clock`]), because it was fetched from other servers
/// or is from before the clock was noted, is as old as its timestamp says, where that does not lie in the future. (What was
/// fetched again lies where other servers say it belongs, which may be behind what is newer: then it stays.)
pub(super) fn find_cut(snapshot: &Snapshot, room: RoomKey, before: i64, now: i64) -> Result<Found> {
    let head = head(snapshot, room)?.ok_or_else(|| Error::not_found("This server knows no such room."))?;
    let mut ends: Vec<HistoryKey> = Vec::new();
    for extremity in extremities(&head) {
        ends.extend(standing(snapshot, room, extremity)?.and_then(|standing| standing.history));
    }
    let Some(newest) = ends.iter().max() else { return Ok(Found::default()) };
    let dated = clock::dated(snapshot, before, now)?;
    let age = |place: &HistoryKey, event: &[u8]| -> Result<Age> {
        if announced_at(place).is_some_and(|at| dated.newer.is_some_and(|newer| at > newer)) {
            return Ok(Age::Newer);
        }
        let event = EventKey::from_bytes(event.try_into().map_err(|_| damaged(tables::HISTORY))?);
        let ts = stored(snapshot, event)?.ok_or_else(|| damaged(tables::PDUS))?.origin_server_ts();
        Ok(match ts {
            _ if ts < before => Age::Older,
            _ if ts > now && before <= now => Age::Unknown,
            _ => Age::Newer,
        })
    };
    let mut cut = dated.older.map(|older| cut_after(snapshot, room, older)).transpose()?.flatten();
    let start = cut.as_ref().map_or_else(|| room_key(room, &[]), |cut| room_key(room, cut.as_bytes()));
    let mut rows = snapshot.scan(tables::HISTORY, start..room_key(room, after(newest).as_bytes()));
    for row in rows.by_ref() {
        let (row, event) = row?;
        let place = place(&row);
        match age(&place, &event)? {
            Age::Older => cut = Some(after(&place)),
            Age::Newer => break,
            Age::Unknown => {}
        }
    }
    let mut misplaced = 0;
    if cut.is_none() {
        for row in rows {
            let (row, event) = row?;
            misplaced += u64::from(matches!(age(&place(&row), &event)?, Age::Older));
        }
    }
    let unfollowed = ends.iter().filter(|end| cut.as_ref().is_some_and(|cut| *end < cut)).count() as u64;
    Ok(Found { cut: cut.map(|cut| Cut(cut.min(newest.clone()))), unfollowed, misplaced })
}

/// Behind the last event that was announced at a position or before it.
fn cut_after(snapshot: &Snapshot, room: RoomKey, position: Position) -> Result<Option<HistoryKey>> {
    let end = room_key(room, &position.saturating_add(1).to_be_bytes());
    for row in snapshot.scan_rev(tables::HISTORY, room_key(room, &[])..end) {
        let place = place(&row?.0);
        if announced_at(&place).is_some() {
            return Ok(Some(after(&place)));
        }
    }
    Ok(None)
}

/// The position at which a live event was announced.
fn announced_at(place: &HistoryKey) -> Option<Position> {
    let position = place.as_bytes().first_chunk().filter(|_| place.as_bytes().len() == LIVE_KEY);
    position.map(|position| Position::from_be_bytes(*position))
}

/// The place in history that a row's key names.
fn place(row: &[u8]) -> HistoryKey {
    HistoryKey::from_bytes(row.get(16..).unwrap_or_default())
}

/// Right behind a place in history.
fn after(place: &HistoryKey) -> HistoryKey {
    HistoryKey::from_bytes(&[place.as_bytes(), &[0]].concat())
}

/// The events that a purge lets go: those before the cut that something follows. (Whoever writes to the room next builds on the others.)
pub(super) fn doomed(snapshot: &Snapshot, room: RoomKey, cut: &Cut) -> Result<Vec<EventKey>> {
    let ends: HashSet<EventKey> = head(snapshot, room)?.iter().flat_map(extremities).collect();
    let mut found = Vec::new();
    for row in snapshot.scan_prefix(tables::STANDING, room.as_bytes()) {
        let (row, value) = row?;
        let standing = Standing::decode(&value).ok_or_else(|| damaged(tables::STANDING))?;
        if cut.dooms(&standing) {
            found.push(event_in(&row)?);
        }
    }
    found.retain(|event| !ends.contains(event));
    Ok(found)
}

fn head(snapshot: &Snapshot, room: RoomKey) -> Result<Option<Head>> {
    match snapshot.get(tables::HEAD, room.as_bytes())? {
        None => Ok(None),
        Some(row) => Head::decode(&row).map(Some).ok_or_else(|| damaged(tables::HEAD)),
    }
}

fn extremities(head: &Head) -> impl Iterator<Item = EventKey> {
    head.extremities.iter().map(|extremity| EventKey::of(&extremity.event_id))
}

/// What becomes of condemned events, as seen when no more can be condemned.
pub(super) struct Fates {
    /// All of them, in an order of their own.
    events: Vec<EventKey>,
    /// Those that stay as outliers.
    needed: HashSet<EventKey>,
    /// Events that stay and follow one that goes.
    gaps: Vec<EventKey>,
}

/// The condemned events.
pub(super) fn condemned(snapshot: &Snapshot, room: RoomKey) -> Result<HashSet<EventKey>> {
    let names = names(snapshot, tables::CONDEMNED_EVENTS, room)?;
    Ok(names.into_iter().map(EventKey::from_bytes).collect())
}

/// Decides what becomes of condemned events, where `in_use` are those that states in use name.
pub(super) fn fates(snapshot: &Snapshot, room: RoomKey, in_use: HashSet<EventKey>) -> Result<Fates> {
    let doomed = condemned(snapshot, room)?;
    let mut gaps = Vec::new();
    let mut open: Vec<EventKey> = in_use.into_iter().filter(|event| doomed.contains(event)).collect();
    for row in snapshot.scan_prefix(tables::STANDING, room.as_bytes()) {
        let (row, value) = row?;
        let event = event_in(&row)?;
        if doomed.contains(&event) {
            continue;
        }
        let standing = Standing::decode(&value).ok_or_else(|| damaged(tables::STANDING))?;
        let Some(pdu) = parsed(snapshot, event)? else { continue };
        open.extend(pdu.auth_events().iter().map(|id| EventKey::of(id)).filter(|event| doomed.contains(event)));
        if standing.is_accepted() && pdu.prev_events().iter().any(|id| doomed.contains(&EventKey::of(id))) {
            gaps.push(event);
        }
    }
    let mut needed = HashSet::new();
    while let Some(event) = open.pop() {
        if needed.insert(event)
            && let Some(pdu) = parsed(snapshot, event)?
        {
            open.extend(pdu.auth_events().iter().map(|id| EventKey::of(id)).filter(|event| doomed.contains(event)));
        }
    }
    let mut events: Vec<EventKey> = doomed.into_iter().collect();
    events.sort_unstable();
    Ok(Fates { events, needed, gaps })
}

/// What is to be written about one condemned event.
#[derive(Clone)]
struct Going {
    event: EventKey,
    /// The row of `CONDEMNED_EVENTS` as it was read.
    row: Bytes,
    /// The standing that it keeps, if it stays as an outlier.
    stays: Option<Vec<u8>>,
    /// Rows about it that go.
    rows: Vec<(storage::Table, Vec<u8>)>,
}

impl Sweeper<'_> {
    /// Puts an end to condemned events; gives how many were deleted, and how many stay as outliers.
    pub(super) async fn delete_events(&self, fates: Fates) -> Result<(u64, u64)> {
        let Fates { mut events, needed, gaps } = fates;
        self.steps(&gaps, |batch, event| {
            batch.put(tables::GAPS, &room_key(self.room, event.as_bytes()), b"");
        })
        .await?;
        self.deps.caches.forget_events(self.room, &gaps);
        let (mut deleted, mut kept) = (0, 0);
        while !events.is_empty() {
            self.note(Stage::Events, deleted + kept, Some(deleted + kept + events.len() as u64));
            let chunk: Vec<EventKey> = events[events.len().saturating_sub(AT_A_TIME)..].to_vec();
            let stay: BTreeSet<EventKey> = chunk.iter().filter(|event| needed.contains(event)).copied().collect();
            let length = chunk.len();
            let going = self.read(move |snapshot, room| going(snapshot, room, &chunk, &stay)).await?;
            let mut all = true;
            let mut batch = self.batch();
            let mut done: Vec<(EventKey, bool)> = Vec::new();
            for (nth, one) in going.iter().enumerate() {
                if one.rows.len() * ROW_BYTES > self.step {
                    let Some(rest) = self.delete_rows(one).await? else {
                        all = false;
                        break;
                    };
                    self.add(&mut batch, &rest);
                } else {
                    self.add(&mut batch, one);
                }
                done.push((one.event, one.stays.is_some()));
                if batch.encoded_len() >= self.step || nth + 1 == going.len() {
                    match self.deps.store.commit_logged(std::mem::replace(&mut batch, self.batch())).await {
                        Outcome::Committed(_) => {
                            let stay = done.iter().filter(|(_, stays)| *stays).count() as u64;
                            kept += stay;
                            deleted += done.len() as u64 - stay;
                            let events: Vec<EventKey> = done.drain(..).map(|(event, _)| event).collect();
                            self.deps.caches.forget_events(self.room, &events);
                        }
                        Outcome::Conflict(at) if at.table == tables::CONDEMNED_EVENTS => {
                            // A writer cites one of them now: look again, at those that are left.
                            all = false;
                            break;
                        }
                        Outcome::Conflict(_) => return Err(interfered()),
                        Outcome::Unknown(cause) => return Err(cause.into()),
                    }
                }
            }
            if all {
                events.truncate(events.len() - length);
            }
        }
        Ok((deleted, kept))
    }

    /// Deletes the current roots before the last one that an event after the cut may need.
    pub(super) async fn delete_roots(&self, cut: &Cut) -> Result<()> {
        let Some(last) = last_root_before(&self.deps.store.snapshot(), self.room, cut)? else { return Ok(()) };
        let mut batch = self.batch();
        batch.delete_range(tables::ROOTS, &room_key(self.room, &[]), &last);
        match self.deps.store.commit_logged(batch).await {
            Outcome::Committed(_) => self.deps.caches.forget_past(self.room),
            Outcome::Conflict(_) => return Err(interfered()),
            Outcome::Unknown(cause) => return Err(cause.into()),
        }
        Ok(())
    }

    /// Deletes the rows about an event that thousands relate to, or cite: a batch has its limits. Gives what is still to be written; `None` if
    /// a writer cites the event now, which nobody may any more once some of its rows are gone.
    async fn delete_rows(&self, going: &Going) -> Result<Option<Going>> {
        let mut rest = Going { rows: Vec::new(), ..going.clone() };
        if going.stays.is_none() {
            if !self.claim(going).await? {
                return Ok(None);
            }
            rest.row = Bytes::from_static(CLAIMED);
        }
        self.steps(&going.rows, |batch, (table, key)| {
            batch.delete(*table, key);
        })
        .await?;
        Ok(Some(rest))
    }

    /// Says of an event that goes that nobody can keep it any more; gives whether nobody has.
    async fn claim(&self, going: &Going) -> Result<bool> {
        let row = room_key(self.room, going.event.as_bytes());
        let mut batch = self.batch();
        batch.require_version(tables::CONDEMNED_EVENTS, &row, Version::of(&going.row));
        batch.put(tables::CONDEMNED_EVENTS, &row, CLAIMED);
        match self.deps.store.commit_logged(batch).await {
            Outcome::Committed(_) => Ok(true),
            Outcome::Conflict(at) if at.table == tables::CONDEMNED_EVENTS => Ok(false),
            Outcome::Conflict(_) => Err(interfered()),
            Outcome::Unknown(cause) => Err(cause.into()),
        }
    }

    fn add(&self, batch: &mut Batch, going: &Going) {
        let row = room_key(self.room, going.event.as_bytes());
        batch.require_version(tables::CONDEMNED_EVENTS, &row, Version::of(&going.row));
        batch.delete(tables::CONDEMNED_EVENTS, &row);
        match &going.stays {
            Some(standing) => batch.put(tables::STANDING, &row, standing),
            None => batch.delete(tables::STANDING, &row).delete(tables::PDUS, going.event.as_bytes()),
        };
        for (table, key) in &going.rows {
            batch.delete(*table, key);
        }
    }
}

/// The key of the last current root before the cut: the states of events behind the cut may begin with it.
pub(super) fn last_root_before(snapshot: &Snapshot, room: RoomKey, cut: &Cut) -> Result<Option<Vec<u8>>> {
    // A cut right at a live event keeps it, and with it the root that was current before its position.
    let keeps_position = cut.as_bytes().len() == LIVE_KEY;
    let end = room_key(room, &(cut.position() + u64::from(!keeps_position)).to_be_bytes());
    match snapshot.scan_rev(tables::ROOTS, room_key(room, &[])..end).next() {
        Some(row) => Ok(Some(row?.0.to_vec())),
        None => Ok(None),
    }
}

fn going(snapshot: &Snapshot, room: RoomKey, events: &[EventKey], needed: &BTreeSet<EventKey>) -> Result<Vec<Going>> {
    let mut found = Vec::with_capacity(events.len());
    for event in events {
        let Some(row) = snapshot.get(tables::CONDEMNED_EVENTS, &room_key(room, event.as_bytes()))? else { continue };
        let Some(standing) = standing(snapshot, room, *event)? else { continue };
        let stays = needed.contains(event) || *row == *STAYS;
        let of_event = room_key(room, event.as_bytes());
        let mut rows = vec![(tables::GAPS, of_event.clone()), (tables::UNANSWERED, of_event)];
        if let Some(place) = &standing.history {
            rows.push((tables::HISTORY, room_key(room, place.as_bytes())));
            rows.push((tables::THREADS, room_key(room, place.as_bytes())));
        }
        let announced = announced(&standing);
        if standing.position != 0 {
            rows.push((tables::TIMELINE, room_key(room, &announced)));
        }
        if !stays {
            rows.extend(rows_by_event(snapshot, *event)?);
            // What it cites, and what cites it.
            for row in snapshot.scan_prefix(tables::AUTH_GRAPH, &room_key(room, event.as_bytes())) {
                rows.push((tables::AUTH_GRAPH, row?.0.to_vec()));
            }
            if let Some(pdu) = parsed(snapshot, *event)? {
                for cited in pdu.auth_events() {
                    let citing = [&EventKey::of(cited).as_bytes()[..], event.as_bytes()].concat();
                    rows.push((tables::AUTH_GRAPH, room_key(room, &citing)));
                }
                rows.extend(rows_elsewhere(&pdu, &announced));
            }
        }
        let stays = stays.then(|| Standing::leftover(standing.depth, standing.is_rejected()).encode());
        found.push(Going { event: *event, row, stays, rows });
    }
    Ok(found)
}

/// Rows about an event in tables that are by event rather than by room, its bytes aside.
pub(super) fn rows_by_event(snapshot: &Snapshot, event: EventKey) -> Result<Vec<(storage::Table, Vec<u8>)>> {
    let mut rows = vec![(tables::EVENT_TRANSACTIONS, event.as_bytes().to_vec())];
    for row in snapshot.scan_prefix(tables::RELATIONS, event.as_bytes()) {
        rows.push((tables::RELATIONS, row?.0.to_vec()));
    }
    Ok(rows)
}

/// Rows of other events that name this one, which was announced at `announced` (position and ordinal).
pub(super) fn rows_elsewhere(pdu: &Pdu, announced: &[u8]) -> Vec<(storage::Table, Vec<u8>)> {
    let mut rows = Vec::new();
    let parent = pdu.content().get("m.relates_to").and_then(|relates| relates.get("event_id")?.as_str());
    if let Some(parent) = parent {
        let key = [EventKey::of(parent).as_bytes(), announced].concat();
        rows.push((tables::RELATIONS, key));
    }
    rows
}

/// Where an event was announced, as keys have it.
pub(super) fn announced(standing: &Standing) -> Vec<u8> {
    key::Writer::new().u64(standing.position).u16(standing.ordinal).finish()
}

fn standing(snapshot: &Snapshot, room: RoomKey, event: EventKey) -> Result<Option<Standing>> {
    match snapshot.get(tables::STANDING, &room_key(room, event.as_bytes()))? {
        None => Ok(None),
        Some(row) => Standing::decode(&row).map(Some).ok_or_else(|| damaged(tables::STANDING)),
    }
}

pub(super) fn stored(snapshot: &Snapshot, event: EventKey) -> Result<Option<StoredEvent>> {
    match snapshot.get(tables::PDUS, event.as_bytes())? {
        None => Ok(None),
        Some(row) => StoredEvent::decode(event, row).map(Some).ok_or_else(|| damaged(tables::PDUS)),
    }
}

fn parsed(snapshot: &Snapshot, event: EventKey) -> Result<Option<Pdu>> {
    let Some(stored) = stored(snapshot, event)? else { return Ok(None) };
    let version = stored.version().ok_or_else(|| damaged(tables::PDUS))?;
    Pdu::from_stored(version, stored.event_id(), stored.canonical().to_vec()).map(Some).map_err(Error::internal)
}

pub(super) fn event_in(row: &[u8]) -> Result<EventKey> {
    let event = row.get(16..).and_then(|event| event.try_into().ok());
    event.map(EventKey::from_bytes).ok_or_else(|| damaged(tables::STANDING))
}
