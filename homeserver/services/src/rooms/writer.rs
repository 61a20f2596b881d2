//! Writing to one room: a unit of work that reads the room at a snapshot, lays events over it, and becomes one batch.
//!
//! Correctness comes from the precondition on the room's head; the queue in `super::RoomHandle` only keeps local writers
//! from colliding. A writer of messages lets the next one go on before its own commit is done (so that they share a sync);
//! whoever changes state waits for its commit, because the next writer reads the nodes it adds.

use super::RoomDeps;
use super::auth_graph;
use super::head::{Extremity, Head, MAX_PREV_EVENTS};
use super::history::HistoryKey;
use super::policy::{PolicyServer, Unsigned};
use super::reader::{Member, Membership, RoomReader, encode_member, room_key};
use super::record::StoredEvent;
use super::standing::{Fate, POSITION_OFFSET, Standing};
use crate::error::{Error, Result};
use crate::tables;
use bytes::Bytes;
use serde_json::{Map, Value};
use state_res::auth;
use state_res::build::{self, EventFields};
use state_res::ids::{EventKey, StateKeyId, UserKey};
use state_res::pdu::Pdu;
use state_res::tree::{self, NodeHash, Root};
use std::collections::{BTreeMap, BTreeSet};
use storage::{Batch, PositionedValue, Table, Version, key};

/// Events looked at to find out whether an event that gets its place late is followed by others.
const MAX_FOLLOWERS: usize = 1_000;

/// Events by (type, state key): the part of a state that decides whether an event is allowed.
pub type AuthState = BTreeMap<(String, String), Pdu>;

/// What an event of ours starts from.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// `type`.
    pub event_type: String,
    /// `state_key`, for state events.
    pub state_key: Option<String>,
    /// Who sends it.
    pub sender: String,
    /// `content`.
    pub content: Map<String, Value>,
    /// The event to redact, for `m.room.redaction`.
    pub redacts: Option<String>,
    /// `origin_server_ts`, where an application service dictates it.
    pub timestamp: Option<i64>,
}

impl NewEvent {
    /// A state event.
    #[must_use]
    pub fn state(sender: &str, event_type: &str, state_key: &str, content: Map<String, Value>) -> Self {
        Self {
            event_type: event_type.to_owned(),
            state_key: Some(state_key.to_owned()),
            sender: sender.to_owned(),
            content,
            redacts: None,
            timestamp: None,
        }
    }

    /// A message-like event.
    #[must_use]
    pub fn message(sender: &str, event_type: &str, content: Map<String, Value>) -> Self {
        Self {
            event_type: event_type.to_owned(),
            state_key: None,
            sender: sender.to_owned(),
            content,
            redacts: None,
            timestamp: None,
        }
    }
}

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
    /// Servers to which our events go, beside those joined before or after: those whose users' invites and knocks end.
    extra_destinations: BTreeSet<String>,
    waits: bool,
    /// Events to which a placed one relates.
    related: Vec<EventKey>,
    /// Local users whose memberships change.
    users: Vec<UserKey>,
    /// Events of ours that the room's policy server has signed.
    signed: &'a [Unsigned],
    /// The first event of ours about which it has yet to be asked: with one, nothing of this writer is to be committed.
    pub(super) unsigned: Option<Unsigned>,
}

/// An event that this writer placed.
struct Placed {
    pdu: Pdu,
    fate: Fate,
    ordinal: u16,
    ours: bool,
    /// Older history, which nobody is told of.
    old: bool,
}

/// What a finished writer leaves to be committed.
pub struct Prepared {
    /// The batch.
    pub batch: Batch,
    /// The head after it.
    pub head: Head,
    /// The head's bytes after it.
    pub head_bytes: Bytes,
    /// Whether the next writer has to wait for the commit.
    pub waits: bool,
    /// Destinations that now have something waiting.
    pub destinations: BTreeSet<String>,
    /// Events to be remembered in caches once committed.
    pub stored: Vec<StoredEvent>,
    /// Events whose bytes were replaced.
    pub replaced: Vec<EventKey>,
    /// Events to which a new one relates.
    pub related: Vec<EventKey>,
    /// State events in parsed form, likewise for caches.
    pub parsed: Vec<Pdu>,
    /// Local users whose memberships change.
    pub users: Vec<UserKey>,
    /// New nodes, likewise.
    pub nodes: Vec<(NodeHash, Bytes)>,
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
            extra_destinations: BTreeSet::new(),
            waits: false,
            related: Vec::new(),
            users: Vec::new(),
            signed,
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
        self.batch.is_empty()
    }

    /// The batch, for rows that belong to the same unit of work (a transaction id, an alias).
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// The event at (type, state key) in the current state.
    pub fn current(&self, event_type: &str, state_key: &str) -> Result<Option<Pdu>> {
        self.reader.state_event(self.head.root, event_type, state_key)
    }

    /// The events that `fields` need for authorisation, from the state `root`.
    pub fn auth_state(
        &self,
        root: Root,
        event_type: &str,
        sender: &str,
        state_key: Option<&str>,
        content: &Map<String, Value>,
    ) -> Result<AuthState> {
        let mut found = BTreeMap::new();
        let mut types = auth::auth_types(self.head.room_version, event_type, sender, state_key, content);
        // From version 12 on the create event is not cited, but it decides all the same.
        if event_type != "m.room.create" && !types.contains(&("m.room.create", "")) {
            types.push(("m.room.create", ""));
        }
        for (kind, key) in types {
            if let Some(event) = self.reader.state_event(root, kind, key)? {
                found.insert((kind.to_owned(), key.to_owned()), event);
            }
        }
        Ok(found)
    }

    /// Builds an event of ours on the current extremities, without adding it: fields as they would be sent.
    pub fn fields(&self, event: &NewEvent) -> Result<(EventFields, AuthState)> {
        let root = self.head.root;
        let state =
            self.auth_state(root, &event.event_type, &event.sender, event.state_key.as_deref(), &event.content)?;
        let create_is_room_id = self.head.room_version.rules().create_event_is_room_id;
        let mut auth_events: Vec<String> = state
            .iter()
            .filter(|((kind, _), _)| !(create_is_room_id && kind == "m.room.create"))
            .map(|(_, pdu)| pdu.event_id().to_owned())
            .collect();
        auth_events.sort_unstable();
        let prev_events: Vec<String> =
            self.head.extremities.iter().take(MAX_PREV_EVENTS).map(|one| one.event_id.clone()).collect();
        let mut reference_hashes = BTreeMap::new();
        if self.head.room_version.rules().references_carry_hashes() {
            for id in prev_events.iter().chain(&auth_events) {
                let pdu = self.reader.required(EventKey::of(id))?;
                reference_hashes.insert(id.clone(), pdu.reference_hash());
            }
        }
        let fields = EventFields {
            event_type: event.event_type.clone(),
            state_key: event.state_key.clone(),
            sender: event.sender.clone(),
            room_id: self.room_id.clone(),
            content: event.content.clone(),
            prev_events,
            auth_events,
            depth: self.head.next_depth(),
            origin_server_ts: event.timestamp.unwrap_or_else(|| self.deps.world.now().millis() as i64),
            redacts: event.redacts.clone(),
            reference_hashes,
        };
        Ok((fields, state))
    }

    /// Forgets what was added to the batch, so that nothing is committed.
    pub fn abandon(&mut self) {
        self.batch = Batch::with_random_id(&self.deps.world);
    }

    /// Builds, authorises and adds an event of ours.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` with the rule that refused it; 413 `M_TOO_LARGE` and 400 `M_BAD_JSON` for what is no event. Where the room's policy
    /// server has yet to be asked, an error that nobody sees: the write begins again with its signature.
    pub fn send(&mut self, event: NewEvent) -> Result<Pdu> {
        let policy = PolicyServer::of(&self.reader, self.head.root)?;
        if let Some(pdu) = self.send_signed(&event, policy.as_ref())? {
            return Ok(pdu);
        }
        let (fields, state) = self.fields(&event)?;
        let pdu = build::build(self.head.room_version, fields, &self.deps.server_name, &self.deps.signing_key())
            .map_err(pdu_error)?;
        auth::check(&pdu, &state).map_err(refused)?;
        if let Some(policy) = policy.filter(|policy| !policy.recommends(&pdu)) {
            let previous = self.head.extremities.iter().take(MAX_PREV_EVENTS);
            let previous = previous.map(|one| (one.event_id.clone(), one.after)).collect();
            self.unsigned.get_or_insert(Unsigned { source: event, event: pdu, previous, policy });
            return Err(Error::contended());
        }
        let before = self.state_at_extremities()?;
        self.place(pdu.clone(), before, Fate::Accepted, true)?;
        Ok(pdu)
    }

    /// Adds the event that was made from `source` earlier, and that the policy server has signed since. It follows what was newest then. `None`
    /// if there is none that still fits.
    fn send_signed(&mut self, source: &NewEvent, policy: Option<&PolicyServer>) -> Result<Option<Pdu>> {
        let Some(signed) = self.signed.iter().find(|signed| signed.source == *source) else { return Ok(None) };
        let pdu = &signed.event;
        if policy.is_some_and(|policy| !policy.recommends(pdu)) || self.reader.new_events.contains_key(&pdu.key()) {
            return Ok(None);
        }
        for (id, _) in &signed.previous {
            // A writer may have meant to place it, and failed.
            let is_here = self.head.extremities.iter().any(|one| one.event_id == *id)
                || self.reader.new_events.contains_key(&EventKey::of(id))
                || self.reader.standing(EventKey::of(id))?.is_some_and(|standing| !standing.is_outlier());
            if !is_here {
                return Ok(None);
            }
        }
        let roots: Vec<Root> = signed.previous.iter().map(|(_, after)| *after).collect();
        let before = self.resolve(&roots)?;
        if before != self.head.root {
            let (kind, sender, content) = (pdu.event_type(), pdu.sender(), pdu.content());
            let state = self.auth_state(self.head.root, kind, sender, pdu.state_key(), content)?;
            auth::check(pdu, &state).map_err(refused)?;
        }
        self.place(pdu.clone(), before, Fate::Accepted, true)?;
        Ok(Some(pdu.clone()))
    }

    /// The state before an event that follows the extremities we refer to.
    fn state_at_extremities(&mut self) -> Result<Root> {
        if self.head.extremities.len() <= MAX_PREV_EVENTS {
            return Ok(self.head.root);
        }
        let roots: Vec<Root> = self.head.extremities.iter().take(MAX_PREV_EVENTS).map(|one| one.after).collect();
        self.resolve(&roots)
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

    /// Adds an event to the room's graph: `before` is the state before it. The caller has authorised it; `fate` says how that
    /// went. Accepted events become extremities and are announced.
    pub fn place(&mut self, pdu: Pdu, before: Root, fate: Fate, ours: bool) -> Result<()> {
        self.place_at_end(pdu, before, fate, ours, true)
    }

    /// Gives its place to an event that was soft-failed for want of the policy server's signature, now that it has it: it is announced as if
    /// it came at this moment. It becomes an extremity unless one follows it, which then stands for it.
    pub fn place_late(&mut self, pdu: Pdu, before: Root) -> Result<()> {
        let leads = !self.is_followed(&pdu)?;
        // What is remembered of it says that nobody may see it.
        self.related.push(pdu.key());
        self.place_at_end(pdu, before, Fate::Accepted, false, leads)
    }

    /// Whether an extremity follows an event. `false` also where this takes too long to find out: then it may become one that it need not be.
    fn is_followed(&self, pdu: &Pdu) -> Result<bool> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<EventKey> = self.head.extremities.iter().map(|one| EventKey::of(&one.event_id)).collect();
        while let Some(event) = open.pop() {
            if seen.len() >= MAX_FOLLOWERS {
                return Ok(false);
            }
            if !seen.insert(event) {
                continue;
            }
            let Some(later) = self.reader.pdu(event)?.filter(|later| later.depth() > pdu.depth()) else { continue };
            if later.prev_events().iter().any(|prev| prev == pdu.event_id()) {
                return Ok(true);
            }
            open.extend(later.prev_events().iter().map(|prev| EventKey::of(prev)));
        }
        Ok(false)
    }

    /// `leads` says whether it becomes an extremity, if it is accepted.
    fn place_at_end(&mut self, pdu: Pdu, before: Root, fate: Fate, ours: bool, leads: bool) -> Result<()> {
        self.know(&pdu, fate == Fate::Rejected)?;
        if ours && fate == Fate::Accepted {
            self.tell_target(&pdu, before)?;
        }
        let after = if fate == Fate::Rejected { before } else { self.state_after(&pdu, before)? };
        if fate == Fate::Accepted {
            self.head.extremities.retain(|one| !pdu.prev_events().contains(&one.event_id));
            if leads {
                let event_id = pdu.event_id().to_owned();
                self.head.extremities.push(Extremity { event_id, depth: pdu.depth(), after });
            }
            let roots: Vec<Root> = self.head.extremities.iter().map(|one| one.after).collect();
            self.head.root = self.resolve(&roots)?;
        }
        self.roots.extend([before, after]);
        self.write_event(&pdu, before, after, fate)?;
        self.events.push(Placed { pdu, fate, ordinal: self.ordinal, ours, old: false });
        // A batch of 1 MiB cannot hold as many events as the ordinal counts.
        self.ordinal = self.ordinal.saturating_add(1);
        Ok(())
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
        let standing = Standing::placed(fate, before, after, pdu.depth(), 0, Some(history));
        let row = room_key(self.reader.room, pdu.key().as_bytes());
        self.batch.put(tables::STANDING, &row, &standing.encode());
        self.events.push(Placed { pdu, fate, ordinal: self.ordinal, ours: false, old: true });
        self.ordinal = self.ordinal.saturating_add(1);
        Ok(())
    }

    /// The root of a state given as a whole, keeping the nodes it makes.
    pub fn root_of(&mut self, state: &[(StateKeyId, EventKey)]) -> Result<Root> {
        let (root, nodes) = tree::insert(&self.reader, Root::EMPTY, state)?;
        self.add_nodes(nodes);
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
        let stored = StoredEvent::encode(self.reader.room, pdu);
        self.batch.put(tables::PDUS, pdu.key().as_bytes(), stored.bytes());
        let standing = Standing::outlier(pdu.depth(), rejected);
        let row = room_key(self.reader.room, pdu.key().as_bytes());
        self.batch.put(tables::STANDING, &row, &standing.encode());
        Ok(())
    }

    fn write_event(&mut self, pdu: &Pdu, before: Root, after: Root, fate: Fate) -> Result<()> {
        let room = self.reader.room;
        let event = pdu.key();
        let standing = Standing::placed(fate, before, after, pdu.depth(), self.ordinal, None);
        put_with_position(
            &mut self.batch,
            tables::STANDING,
            key::Writer::new().id16(room.as_bytes()).id16(event.as_bytes()),
            standing.encode(),
            Some(POSITION_OFFSET),
        );
        if fate == Fate::Accepted {
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

    /// Turns what was placed into a batch.
    pub fn finish(mut self) -> Result<Prepared> {
        let room = self.reader.room;
        // A room that begins with a state given as a whole has a root to record, though nothing changed since.
        let changed_root = self.head.root != self.root_before || self.head_before.is_none();
        let mut destinations: BTreeSet<String> = self.extra_destinations.clone();
        let newcomers = if changed_root { self.write_membership_changes(&mut destinations)? } else { Vec::new() };
        // What others sent goes nowhere, so that receiving a message does not cost more where more servers are in the room.
        if !newcomers.is_empty() || self.events.iter().any(|placed| placed.ours && placed.fate == Fate::Accepted) {
            destinations.extend(self.reader.servers()?);
        }
        for user_id in &newcomers {
            crate::keys::introduce(&mut self.batch, &self.reader.snapshot, user_id, &destinations)?;
        }
        if changed_root {
            let slot = key::Writer::new().id16(room.as_bytes()).position_slot();
            put_with_position(&mut self.batch, tables::ROOTS, slot, self.head.root.as_bytes().to_vec(), None);
        }
        destinations.remove(&self.deps.server_name);

        let (stored, replaced) = self.write_bytes()?;
        let ours: Vec<(EventKey, u16, String)> = self
            .events
            .iter()
            .filter(|placed| placed.ours && placed.fate == Fate::Accepted)
            .map(|placed| (placed.pdu.key(), placed.ordinal, placed.pdu.sender_server().to_owned()))
            .collect();
        if ours.is_empty() {
            destinations.clear();
        }
        for destination in &destinations {
            // Whoever gave us an event to pass on has it.
            for (event, ordinal, _) in ours.iter().filter(|(_, _, from)| from != destination) {
                crate::outbox::put_pdu(&mut self.batch, destination, *ordinal, *event);
            }
        }

        match &self.head_before {
            Some(bytes) => {
                self.batch.require_version(tables::HEAD, room.as_bytes(), Version::of(bytes));
            }
            None => {
                self.batch.require_absent(tables::HEAD, room.as_bytes());
                let mut value = vec![self.head.room_version.number()];
                value.extend_from_slice(self.room_id.as_bytes());
                self.batch.put(tables::ROOM_IDS, room.as_bytes(), &value);
            }
        };
        self.roots.insert(self.head.root);
        self.roots.extend(self.head.extremities.iter().map(|extremity| extremity.after));
        super::sweep::guard(&self.reader, std::mem::take(&mut self.roots), &mut self.batch)?;
        self.head.version += 1;
        let head_bytes = Bytes::from(self.head.encode());
        self.batch.put(tables::HEAD, room.as_bytes(), &head_bytes);
        if self.events.iter().any(|placed| placed.fate == Fate::Accepted && !placed.old) {
            self.batch.topic(super::topic(room));
        }
        if self.events.iter().any(|placed| placed.pdu.is_state_of(super::policy::TYPE, "")) {
            // What waits for the policy server's word may not have to any more.
            self.batch.topic(super::policy::topic());
        }
        Ok(Prepared {
            batch: self.batch,
            head: self.head,
            head_bytes,
            waits: self.waits || changed_root || !replaced.is_empty() || self.head_before.is_none(),
            destinations,
            stored,
            replaced,
            related: self.related,
            parsed: self.events.into_iter().map(|placed| placed.pdu).filter(Pdu::is_state).collect(),
            nodes: self.reader.new_nodes.into_iter().collect(),
            users: self.users,
        })
    }

    /// Writes the bytes of the placed events, redacting what is to be redacted.
    fn write_bytes(&mut self) -> Result<(Vec<StoredEvent>, Vec<EventKey>)> {
        let room = self.reader.room;
        let mut bytes: BTreeMap<EventKey, StoredEvent> = BTreeMap::new();
        let mut replaced = Vec::new();
        let placed: Vec<(Pdu, Fate)> = self.events.iter().map(|one| (one.pdu.clone(), one.fate)).collect();
        for (pdu, fate) in &placed {
            // One that arrived before its target.
            let redaction = super::redaction::effective(&self.reader, self.head.root, pdu)?;
            let stored = if redaction.is_some() {
                StoredEvent::encode(room, &pdu.redacted()).marked_redacted()
            } else {
                StoredEvent::encode(room, pdu)
            };
            bytes.insert(pdu.key(), stored);
            if *fate == Fate::Accepted && pdu.event_type() == "m.room.redaction" {
                let Some(target) = pdu.redacts() else { continue };
                let target_key = EventKey::of(target);
                self.batch.put(tables::REDACTIONS, &super::redaction::row(target_key, pdu.key()), b"");
                let Some(target_pdu) = self.reader.pdu(target_key)? else { continue };
                if super::redaction::allowed(&self.reader, self.head.root, pdu, &target_pdu)? {
                    bytes.insert(target_key, StoredEvent::encode(room, &target_pdu.redacted()).marked_redacted());
                    replaced.push(target_key);
                }
            }
        }
        for (event, stored) in &bytes {
            self.batch.put(tables::PDUS, event.as_bytes(), stored.bytes());
        }
        Ok((bytes.into_values().collect(), replaced))
    }

    /// Brings the rows derived from the current state (members, their servers, local users' rooms) up to the new root. Gives the
    /// local users who came, and adds servers to `destinations` whose users came.
    fn write_membership_changes(&mut self, destinations: &mut BTreeSet<String>) -> Result<Vec<String>> {
        let room = self.reader.room;
        let prefix = StateKeyId::type_prefix("m.room.member");
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        let mut newcomers = Vec::new();
        for change in tree::diff(&self.reader, self.root_before, self.head.root)? {
            if !change.key.as_bytes().starts_with(&prefix) {
                continue;
            }
            let old = change.left.map(|event| self.reader.required(event)).transpose()?;
            let new = change.right.map(|event| self.reader.required(event)).transpose()?;
            let Some(user_id) = new.as_ref().or(old.as_ref()).and_then(|pdu| pdu.state_key()).map(str::to_owned) else {
                continue;
            };
            let user = UserKey::of(&user_id);
            let before = old.as_ref().map(Membership::of);
            let after = new.as_ref().map(Membership::of);
            let row = room_key(room, user.as_bytes());
            match (&new, after) {
                (Some(event), Some(membership)) => {
                    let member = Member { user_id: user_id.clone(), membership, event: event.key() };
                    self.batch.put(tables::MEMBERS, &row, &encode_member(&member));
                }
                _ => {
                    self.batch.delete(tables::MEMBERS, &row);
                }
            }
            let joined = |membership: Option<Membership>| i64::from(membership == Some(Membership::Join));
            let is_local = crate::names::server_of(&user_id) == Some(self.deps.server_name.as_str());
            if is_local && joined(after) > 0 {
                self.batch.put(tables::LOCAL_MEMBERS, &row, user_id.as_bytes());
            } else if is_local {
                self.batch.delete(tables::LOCAL_MEMBERS, &row);
            }
            let server = crate::names::server_of(&user_id).unwrap_or_default().to_owned();
            let delta = joined(after) - joined(before);
            if delta != 0 {
                *counts.entry(server.clone()).or_default() += delta;
            }
            if is_local {
                if delta > 0 {
                    newcomers.push(user_id.clone());
                }
                super::memberships::write(
                    &mut self.batch,
                    &super::memberships::Change {
                        user,
                        room,
                        room_id: &self.room_id,
                        membership: after.unwrap_or(Membership::Leave),
                        previous: before,
                        event: new.as_ref().map(|pdu| pdu.key()),
                        ordinal: self.ordinal.saturating_sub(1),
                    },
                );
                self.batch.topic(super::user_topic(user));
                self.users.push(user);
            }
        }
        for (server, delta) in counts {
            let row = room_key(room, server.as_bytes());
            let count = match self.reader.snapshot.get(tables::ROOM_SERVERS, &row)? {
                Some(bytes) => i64::from(u32::from_be_bytes(bytes.as_ref().try_into().unwrap_or_default())),
                None => 0,
            };
            let count = (count + delta).max(0);
            if count == 0 {
                self.batch.delete(tables::ROOM_SERVERS, &row);
            } else {
                self.batch.put(tables::ROOM_SERVERS, &row, &(count as u32).to_be_bytes());
                destinations.insert(server);
            }
        }
        Ok(newcomers)
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

/// What a refused authorisation tells the client.
pub(crate) fn refused(refusal: auth::Refusal) -> Error {
    Error::forbidden(format!("{} (authorisation rule {})", refusal.because, refusal.rule))
}

/// What a malformed event tells the client.
pub(crate) fn pdu_error(error: state_res::pdu::PduError) -> Error {
    if error.is_too_large() {
        Error::new(413, "M_TOO_LARGE", error.to_string())
    } else {
        Error::bad_json(error.to_string())
    }
}
