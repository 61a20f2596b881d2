//! Writing to one room: a unit of work that reads the room at a snapshot, lays events over it, and becomes one batch.
//!
//! Correctness comes from the precondition on the room's head; the queue in `super::RoomHandle` only keeps local writers
//! from colliding. A writer of messages lets the next one go on before its own commit is done (so that they share a sync);
//! whoever changes state waits for its commit, because the next writer reads the nodes it adds.

mod finish;
mod send;

pub use finish::Prepared;
pub use send::{AuthState, NewEvent};
pub(crate) use send::{pdu_error, refused};

use super::RoomDeps;
use super::auth_graph;
use super::head::{Extremity, Head};
use super::history::HistoryKey;
use super::policy::Unsigned;
use super::reader::{Membership, RoomReader, room_key};
use super::redaction::{self, Place};
use super::standing::{Fate, POSITION_OFFSET, Standing};
use super::sweep;
use crate::error::Result;
use crate::tables;
use bytes::Bytes;
use serde_json::Value;
use state_res::ids::{EventKey, StateKeyId, UserKey};
use state_res::pdu::Pdu;
use state_res::tree::{self, NodeHash, Root};
use std::collections::{BTreeSet, VecDeque};
use storage::{Batch, PositionedValue, Table, key};

/// Events looked at to find out whether one follows another.
const MAX_FOLLOWERS: usize = 1_000;

/// A unit of work on one room.
pub struct RoomWriter<'a> {
    deps: &'a RoomDeps,
    /// The room as this writer sees it.
    pub reader: RoomReader,
    /// The head as this writer leaves it.
    pub head: Head,
    room_id: String,
    /// The head's bytes before, for the precondition.
    head_before: Option<Bytes>,
    root_before: Root,
    batch: Batch,
    ordinal: u16,
    events: Vec<Placed>,
    /// States that the batch refers to.
    roots: BTreeSet<Root>,
    /// Events of states that were given as a whole.
    given: Vec<EventKey>,
    /// Servers to which our events go, beside those joined before or after: those whose users' invites and knocks end.
    extra_destinations: BTreeSet<String>,
    waits: bool,
    /// Events to which a placed one relates.
    related: Vec<EventKey>,
    /// Local users whose memberships change.
    users: Vec<UserKey>,
    /// Events of ours that the room's policy server has signed.
    signed: &'a [Unsigned],
    /// Events before which the state is as another server told it.
    told: BTreeSet<EventKey>,
    /// Events made here, whose standing lacks nothing but the position.
    made: Vec<Made>,
    /// The first event of ours about which it has yet to be asked: with one, nothing of this writer is to be committed.
    pub(super) unsigned: Option<Unsigned>,
}

/// An event that was made here.
struct Made {
    event: EventKey,
    standing: Standing,
    /// Its row of `EVENT_TRANSACTIONS`.
    transaction: Option<Bytes>,
}

/// An event that this writer placed.
struct Placed {
    pdu: Pdu,
    fate: Fate,
    /// The state before it.
    before: Root,
    /// Its place in history, where that is known.
    history: Option<HistoryKey>,
    ordinal: u16,
    arrival: Arrival,
}

/// How an event came to be placed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// It is for us to tell the room's servers, and everyone here.
    Ours,
    /// Everyone here is told.
    News,
    /// Older history, of which the current state says nothing and of which nobody is told.
    Old,
    /// A better copy of an event that everyone was told of.
    Again,
}

impl Placed {
    fn is_ours_to_tell(&self) -> bool {
        self.fate == Fate::Accepted && self.arrival == Arrival::Ours
    }

    /// Whether whoever waits for news of the room is woken.
    fn is_news(&self) -> bool {
        self.fate == Fate::Accepted && matches!(self.arrival, Arrival::Ours | Arrival::News)
    }
}

impl<'a> RoomWriter<'a> {
    pub(super) fn new(
        deps: &'a RoomDeps,
        reader: RoomReader,
        room_id: &str,
        head: Head,
        head_before: Option<Bytes>,
        signed: &'a [Unsigned],
    ) -> Self {
        Self {
            deps,
            reader,
            root_before: head.root,
            head,
            room_id: room_id.to_owned(),
            head_before,
            batch: Batch::with_random_id(&deps.world),
            ordinal: 0,
            events: Vec::new(),
            roots: BTreeSet::new(),
            given: Vec::new(),
            extra_destinations: BTreeSet::new(),
            waits: false,
            related: Vec::new(),
            users: Vec::new(),
            signed,
            told: BTreeSet::new(),
            made: Vec::new(),
            unsigned: None,
        }
    }

    /// The room's id.
    #[must_use]
    pub fn room_id(&self) -> &str {
        &self.room_id
    }

    /// Whether nothing has been added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.events.is_empty()
    }

    /// The batch, for rows that belong to the same unit of work (a transaction id, an alias).
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Notes under which transaction id a device sent an event, which this writer has made.
    pub fn sent_by(&mut self, event: EventKey, user: UserKey, device_id: &str, transaction_id: &str) {
        let row = key::Writer::new().id16(user.as_bytes()).str(device_id).str(transaction_id).finish();
        self.batch.put(tables::EVENT_TRANSACTIONS, event.as_bytes(), &row);
        if let Some(made) = self.made.iter_mut().find(|made| made.event == event) {
            made.transaction = Some(row.into());
        }
    }

    /// The event at (type, state key) in the current state.
    pub fn current(&self, event_type: &str, state_key: &str) -> Result<Option<Pdu>> {
        self.reader.state_event(self.head.root, event_type, state_key)
    }

    /// Forgets what was added to the batch, so that nothing is committed.
    pub fn abandon(&mut self) {
        self.batch = Batch::with_random_id(&self.deps.world);
        self.events.clear();
    }

    /// Resolves states to one, keeping the nodes it makes.
    pub fn resolve(&mut self, roots: &[Root]) -> Result<Root> {
        let mut distinct = roots.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        if let [only] = distinct[..] {
            return Ok(only);
        }
        let (root, nodes) = state_res::resolve::resolve(self.head.room_version, &distinct, &self.reader)?;
        self.add_nodes(nodes);
        Ok(root)
    }

    /// Adds nodes of a tree to this unit of work.
    pub fn add_nodes(&mut self, nodes: Vec<(NodeHash, Vec<u8>)>) {
        for (hash, bytes) in nodes {
            let bytes = Bytes::from(bytes);
            self.batch.put(tables::NODES, &room_key(self.reader.room, hash.as_bytes()), &bytes);
            self.reader.new_nodes.insert(hash, bytes);
        }
    }

    /// The state after `pdu` on top of `before`.
    fn state_after(&mut self, pdu: &Pdu, before: Root) -> Result<Root> {
        let Some(state_key) = pdu.state_key() else { return Ok(before) };
        let entry = (StateKeyId::of(pdu.event_type(), state_key), pdu.key());
        let (after, nodes) = tree::insert(&self.reader, before, &[entry])?;
        self.add_nodes(nodes);
        Ok(after)
    }

    /// Lays an event over the reader and indexes what it cites.
    fn know(&mut self, pdu: &Pdu, rejected: bool) -> Result<()> {
        self.reader.new_events.insert(pdu.key(), pdu.clone());
        self.reader.new_rejected.insert(pdu.key(), rejected);
        auth_graph::index(&mut self.batch, &mut self.reader, pdu)
    }

    /// Notes that the state before an event, which is about to be placed, is as another server tells it.
    pub fn take_on_trust(&mut self, event: EventKey) {
        self.told.insert(event);
    }

    /// Whether the state before an event is as another server told it: of this one, or of all that it follows. Where it follows also what we
    /// know the state of ourselves, the two were resolved, and that is our own doing.
    pub fn is_told(&self, event: EventKey, prev_events: &[String]) -> Result<bool> {
        if self.told.contains(&event) {
            return Ok(true);
        }
        for prev in prev_events {
            let extremity = self.head.extremities.iter().find(|one| one.event_id == *prev);
            let is_told = match extremity {
                Some(extremity) => extremity.is_told,
                None => self.reader.standing(EventKey::of(prev))?.is_some_and(|standing| standing.is_told()),
            };
            if !is_told {
                return Ok(false);
            }
        }
        Ok(!prev_events.is_empty())
    }

    /// Adds an event to the room's graph: `before` is the state before it. The caller has authorised it; `fate` says how that
    /// went. Accepted events become extremities and are announced.
    pub fn place(&mut self, pdu: Pdu, before: Root, fate: Fate, ours: bool) -> Result<()> {
        self.place_at_end(pdu, before, fate, ours, true).map(|_| ())
    }

    /// Adds an event that was made here, on what was newest.
    fn place_made(&mut self, pdu: &Pdu, before: Root) -> Result<()> {
        let standing = self.place_at_end(pdu.clone(), before, Fate::Accepted, true, true)?;
        self.made.push(Made { event: pdu.key(), standing, transaction: None });
        Ok(())
    }

    /// Gives its place to an event that was soft-failed for want of the policy server's signature, now that it has it: it is announced as if
    /// it came at this moment. It becomes an extremity unless one follows it, which then stands for it.
    pub fn place_late(&mut self, pdu: Pdu, before: Root) -> Result<()> {
        let leads = !self.is_followed(&pdu)?;
        // What is remembered of it says that nobody may see it.
        self.related.push(pdu.key());
        self.place_at_end(pdu, before, Fate::Accepted, false, leads).map(|_| ())
    }

    /// Whether an extremity follows an event. `false` also where this takes too long to find out: then it may become one that it need not be.
    fn is_followed(&self, pdu: &Pdu) -> Result<bool> {
        self.is_before(pdu.key(), pdu.depth(), self.head.extremities.iter().map(|one| EventKey::of(&one.event_id)))
    }

    /// Whether an event follows another, as far as that has a place; `false` also where this takes too long to find out.
    fn follows(&self, later: &Pdu, earlier: EventKey) -> Result<bool> {
        match self.reader.standing(earlier)?.filter(|standing| !standing.is_outlier()) {
            Some(standing) => {
                self.is_before(earlier, standing.depth, later.prev_events().iter().map(|prev| EventKey::of(prev)))
            }
            None => Ok(true),
        }
    }

    /// Whether an event of this depth is one of `later`, or comes before one of them.
    fn is_before(&self, event: EventKey, depth: i64, later: impl Iterator<Item = EventKey>) -> Result<bool> {
        let mut open: VecDeque<EventKey> = later.collect();
        let mut seen = BTreeSet::new();
        while let Some(later) = open.pop_front() {
            if later == event {
                return Ok(true);
            }
            if seen.len() >= MAX_FOLLOWERS {
                return Ok(false);
            }
            if !seen.insert(later) {
                continue;
            }
            // Depths end somewhere, and from then on all are alike.
            if let Some(later) = self.reader.pdu(later)?.filter(|later| later.depth() >= depth) {
                open.extend(later.prev_events().iter().map(|prev| EventKey::of(prev)));
            }
        }
        Ok(false)
    }

    /// `leads` says whether it becomes an extremity, if it is accepted.
    fn place_at_end(&mut self, pdu: Pdu, before: Root, fate: Fate, ours: bool, leads: bool) -> Result<Standing> {
        self.know(&pdu, fate == Fate::Rejected)?;
        if ours && fate == Fate::Accepted {
            self.tell_target(&pdu, before)?;
        }
        let after = if fate == Fate::Rejected { before } else { self.state_after(&pdu, before)? };
        let is_told = self.is_told(pdu.key(), pdu.prev_events())?;
        if fate == Fate::Accepted {
            self.head.extremities.retain(|one| !pdu.prev_events().contains(&one.event_id));
            if leads {
                let event_id = pdu.event_id().to_owned();
                self.head.extremities.push(Extremity { event_id, depth: pdu.depth(), after, is_told });
            }
            let roots: Vec<Root> = self.head.extremities.iter().map(|one| one.after).collect();
            self.head.root = self.resolve(&roots)?;
        }
        self.roots.extend([before, after]);
        let standing = Standing::placed(fate, before, after, pdu.depth(), self.ordinal, None).told(is_told);
        self.write_event(&pdu, &standing)?;
        let arrival = if ours { Arrival::Ours } else { Arrival::News };
        self.events.push(Placed { pdu, fate, before, history: None, ordinal: self.ordinal, arrival });
        // A batch of 1 MiB cannot hold as many events as the ordinal counts.
        self.ordinal = self.ordinal.saturating_add(1);
        Ok(standing)
    }

    /// Where `pdu` ends somebody else's invite or knock, their server has to hear of it, though it need not be in the room.
    fn tell_target(&mut self, pdu: &Pdu, before: Root) -> Result<()> {
        let Some(target) = pdu.state_key().filter(|_| pdu.event_type() == "m.room.member") else { return Ok(()) };
        let Some(server) = crate::names::server_of(target).filter(|server| *server != pdu.sender_server()) else {
            return Ok(());
        };
        let ends = matches!(Membership::of(pdu), Membership::Leave | Membership::Ban);
        let ended = ends.then(|| self.reader.membership_in(before, target)).transpose()?.flatten();
        if matches!(ended, Some(Membership::Invite | Membership::Knock)) {
            self.extra_destinations.insert(server.to_owned());
        }
        Ok(())
    }

    /// Adds an event of older history at `history`: it changes neither extremities nor the current state, and wakes nobody.
    pub fn place_old(&mut self, pdu: Pdu, before: Root, fate: Fate, history: HistoryKey) -> Result<()> {
        self.know(&pdu, fate == Fate::Rejected)?;
        let after = if fate == Fate::Rejected { before } else { self.state_after(&pdu, before)? };
        self.roots.extend([before, after]);
        if fate == Fate::Accepted {
            let row = room_key(self.reader.room, history.as_bytes());
            self.batch.put(tables::HISTORY, &row, pdu.key().as_bytes());
            self.write_relation(&pdu, Some(&history));
        }
        let place = Some(history.clone());
        let standing = Standing::placed(fate, before, after, pdu.depth(), 0, Some(history))
            .told(self.is_told(pdu.key(), pdu.prev_events())?);
        let row = room_key(self.reader.room, pdu.key().as_bytes());
        self.batch.put(tables::STANDING, &row, &standing.encode());
        let (ordinal, arrival) = (self.ordinal, Arrival::Old);
        self.events.push(Placed { pdu, fate, before, history: place, ordinal, arrival });
        self.ordinal = self.ordinal.saturating_add(1);
        Ok(())
    }

    /// Puts an event's bytes in the place of those of another copy of it, which lack its content. Its standing stays; what follows from its
    /// content (what it relates to, what it redacts) is made up for, and wakes nobody.
    pub fn replace_bytes(&mut self, pdu: &Pdu) -> Result<()> {
        let Some(standing) = self.reader.standing(pdu.key())? else { return Ok(()) };
        self.know(pdu, standing.is_rejected())?;
        // What is remembered of it has no content.
        self.related.push(pdu.key());
        self.waits = true;
        let fate = standing.fate().unwrap_or(Fate::SoftFailed);
        if fate == Fate::Accepted {
            self.write_relation(pdu, standing.history.as_ref());
        }
        let arrival = if standing.position == 0 { Arrival::Old } else { Arrival::Again };
        let (before, history, ordinal) = (standing.before, standing.history, self.ordinal);
        self.events.push(Placed { pdu: pdu.clone(), fate, before, history, ordinal, arrival });
        self.ordinal = self.ordinal.saturating_add(1);
        Ok(())
    }

    /// The root of a state given as a whole, keeping the nodes it makes. Those that are there already are not written again: a batch could not
    /// hold the state of a big room.
    pub fn root_of(&mut self, state: &[(StateKeyId, EventKey)]) -> Result<Root> {
        let (root, nodes) = tree::insert(&self.reader, Root::EMPTY, state)?;
        self.given.extend(state.iter().map(|(_, event)| *event));
        let absent = sweep::absent(&self.reader, nodes, &mut self.batch)?;
        self.add_nodes(absent);
        Ok(root)
    }

    /// Takes `root`, whose derived rows the caller has written, as the state in which this unit of work begins.
    pub fn assume_state(&mut self, root: Root) {
        self.head.root = root;
        self.root_before = root;
    }

    /// Stores an event without a place in the graph.
    pub fn add_outlier(&mut self, pdu: &Pdu, rejected: bool) -> Result<()> {
        self.know(pdu, rejected)?;
        let stored = redaction::to_be_stored(&self.reader, pdu, Place::Anywhere)?;
        self.batch.put(tables::PDUS, pdu.key().as_bytes(), stored.bytes());
        let standing = Standing::outlier(pdu.depth(), rejected);
        let row = room_key(self.reader.room, pdu.key().as_bytes());
        self.batch.put(tables::STANDING, &row, &standing.encode());
        Ok(())
    }

    fn write_event(&mut self, pdu: &Pdu, standing: &Standing) -> Result<()> {
        let room = self.reader.room;
        let event = pdu.key();
        put_with_position(
            &mut self.batch,
            tables::STANDING,
            key::Writer::new().id16(room.as_bytes()).id16(event.as_bytes()),
            standing.encode(),
            Some(POSITION_OFFSET),
        );
        if standing.is_accepted() {
            let mut value = event.as_bytes().to_vec();
            value.push(u8::from(pdu.state_key().is_some()));
            let slot = key::Writer::new().id16(room.as_bytes()).position_slot().u16(self.ordinal);
            put_with_position(&mut self.batch, tables::TIMELINE, slot, value, None);
            let slot = key::Writer::new().id16(room.as_bytes()).position_slot().u16(self.ordinal);
            put_with_position(&mut self.batch, tables::HISTORY, slot, event.as_bytes().to_vec(), None);
            self.write_relation(pdu, None);
        }
        Ok(())
    }

    /// `history` is the event's place if that is known before the commit.
    fn write_relation(&mut self, pdu: &Pdu, history: Option<&HistoryKey>) {
        let Some(relates) = pdu.content().get("m.relates_to").and_then(Value::as_object) else { return };
        let (Some(parent), Some(kind)) =
            (relates.get("event_id").and_then(Value::as_str), relates.get("rel_type").and_then(Value::as_str))
        else {
            return;
        };
        let mut value = pdu.key().as_bytes().to_vec();
        value.extend_from_slice(&key::Writer::new().str(kind).str(pdu.event_type()).finish());
        let parent = EventKey::of(parent);
        let slot = key::Writer::new().id16(parent.as_bytes()).position_slot().u16(self.ordinal);
        put_with_position(&mut self.batch, tables::RELATIONS, slot, value, None);
        self.related.push(parent);
        if kind == super::relations::THREAD {
            let room = self.reader.room;
            let value = [parent.as_bytes().as_slice(), pdu.key().as_bytes()].concat();
            match history {
                Some(history) => {
                    self.batch.put(tables::THREADS, &room_key(room, history.as_bytes()), &value);
                }
                None => {
                    let slot = key::Writer::new().id16(room.as_bytes()).position_slot().u16(self.ordinal);
                    put_with_position(&mut self.batch, tables::THREADS, slot, value, None);
                }
            }
        }
    }
}

/// Puts a row whose key may have a slot for the position; `value_slot` is the offset of one in the value.
pub(crate) fn put_with_position(
    batch: &mut Batch,
    table: Table,
    key: key::Writer,
    value: Vec<u8>,
    value_slot: Option<usize>,
) {
    match value_slot {
        Some(offset) => {
            batch.put_at_position(table, key.finish_positioned(), PositionedValue::with_slot(value, offset))
        }
        None => batch.put_at_position(table, key.finish_positioned(), value),
    };
}
