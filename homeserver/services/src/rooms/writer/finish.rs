//! The batch that a writer's work comes to: events' bytes, the rows that follow from the current state, what waits for other servers, the head.

use super::{Arrival, Made, Placed, RoomWriter, put_with_position};
use crate::error::Result;
use crate::rooms::facts::Facts;
use crate::rooms::head::Head;
use crate::rooms::policy;
use crate::rooms::reader::{Member, Membership, encode_member, room_key};
use crate::rooms::record::StoredEvent;
use crate::rooms::redaction::{self, Place, Reach};
use crate::rooms::standing::Fate;
use crate::rooms::{memberships, sweep, topic, user_topic};
use crate::tables;
use bytes::Bytes;
use state_res::ids::{EventKey, StateKeyId, UserKey};
use state_res::pdu::Pdu;
use state_res::tree::{self, NodeHash};
use std::collections::{BTreeMap, BTreeSet};
use storage::{Batch, Version, key};

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
    /// What is known of those that were made here, but for the position.
    pub made: Vec<Facts>,
    /// What [`Caches::changes`](crate::rooms::caches::Caches::changes) said before any of this could be read.
    pub epoch: u64,
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

impl RoomWriter<'_> {
    /// Turns what was placed into a batch.
    pub fn finish(mut self) -> Result<Prepared> {
        let room = self.reader.room;
        // A room that begins with a state given as a whole has a root to record, though nothing changed since.
        let changed_root = self.head.root != self.root_before || self.head_before.is_none();
        let mut destinations: BTreeSet<String> = self.extra_destinations.clone();
        let newcomers = if changed_root { self.write_membership_changes(&mut destinations)? } else { Vec::new() };
        // What others sent goes nowhere, so that receiving a message does not cost more where more servers are in the room.
        if !newcomers.is_empty() || self.events.iter().any(Placed::is_ours_to_tell) {
            match self.head_before {
                Some(_) => destinations.extend(self.reader.servers_in(self.root_before)?.iter().cloned()),
                None => destinations.extend(self.reader.servers()?),
            }
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
        let mut made = Vec::with_capacity(self.made.len());
        for Made { event, standing, transaction } in std::mem::take(&mut self.made) {
            if let Some(event) = stored.iter().find(|stored| stored.key() == event) {
                made.push(Facts::of_new(event.clone(), standing, transaction));
            }
        }
        let ours: Vec<(EventKey, u16, String)> = self
            .events
            .iter()
            .filter(|placed| placed.is_ours_to_tell())
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
        sweep::guard(&self.reader, std::mem::take(&mut self.roots), std::mem::take(&mut self.given), &mut self.batch)?;
        self.head.version += 1;
        let head_bytes = Bytes::from(self.head.encode());
        self.batch.put(tables::HEAD, room.as_bytes(), &head_bytes);
        if self.events.iter().any(Placed::is_news) {
            self.batch.topic(topic(room));
        }
        if self.events.iter().any(|placed| placed.pdu.is_state_of(policy::TYPE, "")) {
            // What waits for the policy server's word may not have to any more.
            self.batch.topic(policy::topic());
        }
        // Where references carry hashes, the next event needs this one's bytes, not just its id (see `RoomWriter::fields`).
        let carries_hashes = self.head.room_version.rules().references_carry_hashes();
        let is_new = self.head_before.is_none();
        let waits = self.waits || changed_root || !replaced.is_empty() || is_new || carries_hashes;
        Ok(Prepared {
            batch: self.batch,
            head: self.head,
            head_bytes,
            waits,
            destinations,
            stored,
            made,
            epoch: self.reader.epoch,
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
        for Placed { pdu, fate, before, history, arrival, .. } in &self.events {
            let place = history.as_ref().map_or(Place::Newest, Place::At);
            bytes.insert(pdu.key(), redaction::to_be_stored(&self.reader, pdu, place)?);
            if *fate == Fate::Accepted && pdu.event_type() == "m.room.redaction" {
                let Some(target) = pdu.redacts().map(EventKey::of) else { continue };
                // As for soft failure, the current state has no say about older history; but whoever had the power once must not use it by that
                // way on what was said since.
                let states = [*before, self.head.root];
                let is_old = *arrival == Arrival::Old;
                let is_past = is_old && self.follows(pdu, target)?;
                let reach = Reach::of(&self.reader, pdu, if is_past { &states[..1] } else { &states })?;
                let value = redaction::value(history.as_ref().filter(|_| is_old));
                self.batch.put(tables::REDACTIONS, &redaction::row(room, target, &reach, pdu.key()), value);
                let Some(target) = self.reader.pdu(target)?.filter(|target| reach.includes(target)) else { continue };
                let place = self.reader.standing(target.key())?.and_then(|standing| standing.history);
                if !place.as_ref().map_or(Place::Anywhere, Place::At).is_before(value) {
                    continue;
                }
                bytes.insert(target.key(), redaction::redacted(room, &target));
                replaced.push(target.key());
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
                memberships::write(
                    &mut self.batch,
                    &memberships::Change {
                        user,
                        room,
                        room_id: &self.room_id,
                        membership: after.unwrap_or(Membership::Leave),
                        previous: before,
                        event: new.as_ref().map(|pdu| pdu.key()),
                        ordinal: self.ordinal.saturating_sub(1),
                    },
                );
                self.batch.topic(user_topic(user));
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
