//! Reading rooms at a position: events, standings, state, members; and the room graph that `state-res` asks for.

use super::auth_graph;
use super::caches::{Caches, MemberCounts, RootAt, Servers};
use super::head::Head;
use super::record::StoredEvent;
use super::standing::Standing;
use crate::error::{Error, Result};
use crate::tables;
use bytes::Bytes;
use state_res::ids::{EventKey, RoomKey, StateKeyId, UserKey};
use state_res::pdu::Pdu;
use state_res::resolve::{Around, Citing, Events, Links};
use state_res::tree::{self, NodeHash, Nodes, Root};
use std::collections::HashMap;
use std::sync::Arc;
use storage::{Position, Snapshot, Table};

/// A room at a position, with what a writer has added but not committed yet laid over it.
#[derive(Clone)]
pub struct RoomReader {
    pub(super) snapshot: Snapshot,
    pub(super) room: RoomKey,
    pub(super) caches: Arc<Caches>,
    /// Nodes made since the snapshot.
    pub(super) new_nodes: HashMap<NodeHash, Bytes>,
    /// Events made or received since the snapshot.
    pub(super) new_events: HashMap<EventKey, Pdu>,
    /// Whether each of those was rejected.
    pub(super) new_rejected: HashMap<EventKey, bool>,
    /// Rows of the index of auth events made since the snapshot.
    pub(super) new_links: HashMap<EventKey, Links>,
    /// What [`Caches::changes`] said before the snapshot was taken.
    pub(super) epoch: u64,
}

/// Membership of one user in a room's current state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Whose.
    pub user_id: String,
    /// `join`, `invite`, `leave`, `ban` or `knock`.
    pub membership: Membership,
    /// The `m.room.member` event.
    pub event: EventKey,
}

/// Values of `membership`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Membership {
    /// In the room.
    Join = 1,
    /// Asked to come in.
    Invite = 2,
    /// Not in the room any more (or never was).
    Leave = 3,
    /// Kept out.
    Ban = 4,
    /// Asking to be let in.
    Knock = 5,
}

impl Membership {
    /// From the `membership` member of an event's content.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "join" => Self::Join,
            "invite" => Self::Invite,
            "leave" => Self::Leave,
            "ban" => Self::Ban,
            "knock" => Self::Knock,
            _ => return None,
        })
    }

    /// As events say it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Invite => "invite",
            Self::Leave => "leave",
            Self::Ban => "ban",
            Self::Knock => "knock",
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Join,
            2 => Self::Invite,
            3 => Self::Leave,
            4 => Self::Ban,
            5 => Self::Knock,
            _ => return None,
        })
    }

    /// The membership that an `m.room.member` event sets; `Leave` where it says nothing we know.
    #[must_use]
    pub fn of(pdu: &Pdu) -> Self {
        pdu.content().get("membership").and_then(|value| value.as_str()).and_then(Self::parse).unwrap_or(Self::Leave)
    }
}

/// Key of a row of `room, x` tables.
#[must_use]
pub fn room_key(room: RoomKey, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(16 + rest.len());
    key.extend_from_slice(room.as_bytes());
    key.extend_from_slice(rest);
    key
}

pub(crate) fn damaged(what: &str) -> Error {
    Error::internal(format!("a row of table {what} cannot be read: the data directory is damaged"))
}

impl RoomReader {
    /// A reader of `room` at `snapshot`; `epoch` is what [`Caches::changes`] said before it was taken.
    #[must_use]
    pub fn new(snapshot: Snapshot, room: RoomKey, caches: Arc<Caches>, epoch: u64) -> Self {
        Self {
            epoch,
            snapshot,
            room,
            caches,
            new_nodes: HashMap::new(),
            new_events: HashMap::new(),
            new_rejected: HashMap::new(),
            new_links: HashMap::new(),
        }
    }

    /// The snapshot it reads from.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The room.
    #[must_use]
    pub fn room(&self) -> RoomKey {
        self.room
    }

    /// Since when the content of a user is erased, in milliseconds; `None` for nearly all.
    #[must_use]
    pub fn erased_since<S: AsRef<str>>(&self, user_id: impl FnOnce() -> S) -> Option<i64> {
        self.caches.erasures.since(user_id)
    }

    /// The room's head; `None` if we know no such room.
    pub fn head(&self) -> Result<Option<Head>> {
        match self.snapshot.get(tables::HEAD, self.room.as_bytes())? {
            None => Ok(None),
            Some(bytes) => Head::decode(&bytes).map(Some).ok_or_else(|| damaged("HEAD")),
        }
    }

    /// An event of this room, parsed; `None` if it is not stored.
    pub fn pdu(&self, key: EventKey) -> Result<Option<Pdu>> {
        if let Some(pdu) = self.parsed(key) {
            return Ok(Some(pdu));
        }
        let Some(stored) = self.stored(key)? else { return Ok(None) };
        self.parse(&stored).map(Some)
    }

    /// Several events of this room, parsed, in their order; `None` for those that are not stored.
    pub fn pdus(&self, keys: &[EventKey]) -> Result<Vec<Option<Pdu>>> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let parsed = match self.parsed(*key) {
                Some(pdu) => Some(pdu),
                None => {
                    let stored = self.caches.stored(*key).filter(|stored| stored.room() == self.room);
                    stored.map(|stored| self.parse(&stored)).transpose()?
                }
            };
            found.push(parsed);
        }
        self.read_missing(
            tables::PDUS,
            keys,
            &mut found,
            |key| *key.as_bytes(),
            |key, bytes| {
                let stored = StoredEvent::decode(key, bytes).ok_or_else(|| damaged("PDUS"))?;
                self.caches.put_stored(&stored, self.epoch);
                if stored.room() == self.room { self.parse(&stored).map(Some) } else { Ok(None) }
            },
        )?;
        Ok(found)
    }

    /// An event that somebody has parsed already.
    fn parsed(&self, key: EventKey) -> Option<Pdu> {
        self.new_events.get(&key).cloned().or_else(|| self.caches.parsed(self.room, key))
    }

    fn parse(&self, stored: &StoredEvent) -> Result<Pdu> {
        let version = stored.version().ok_or_else(|| damaged("PDUS"))?;
        let pdu = Pdu::from_stored(version, stored.event_id(), stored.canonical().to_vec()).map_err(Error::internal)?;
        self.caches.put_parsed(self.room, &pdu, self.epoch);
        Ok(pdu)
    }

    /// Reads those rows of a table in one go whose answers are missing in `found`.
    pub(super) fn read_missing<K: Copy, R: AsRef<[u8]>, T>(
        &self,
        table: Table,
        keys: &[K],
        found: &mut [Option<T>],
        row: impl Fn(K) -> R,
        mut read: impl FnMut(K, Bytes) -> Result<Option<T>>,
    ) -> Result<()> {
        let missing: Vec<usize> = (0..keys.len()).filter(|at| found[*at].is_none()).collect();
        let rows: Vec<R> = missing.iter().map(|at| row(keys[*at])).collect();
        for (at, bytes) in missing.into_iter().zip(self.snapshot.multi_get(table, &rows)?) {
            if let Some(bytes) = bytes {
                found[at] = read(keys[at], bytes)?;
            }
        }
        Ok(())
    }

    /// An event of this room in stored form; `None` if it is not stored. Other servers name events as they please, so another room's event
    /// is not there, as far as this room is concerned: what one room says never comes to stand in another.
    pub fn stored(&self, key: EventKey) -> Result<Option<StoredEvent>> {
        Ok(self.stored_in_any_room(key)?.filter(|event| event.room() == self.room))
    }

    /// An event in stored form, whichever room it belongs to.
    pub fn stored_in_any_room(&self, key: EventKey) -> Result<Option<StoredEvent>> {
        if let Some(stored) = self.caches.stored(key) {
            return Ok(Some(stored));
        }
        let Some(bytes) = self.snapshot.get(tables::PDUS, key.as_bytes())? else { return Ok(None) };
        let stored = StoredEvent::decode(key, bytes).ok_or_else(|| damaged("PDUS"))?;
        self.caches.put_stored(&stored, self.epoch);
        Ok(Some(stored))
    }

    /// The standing of an event; `None` if it is not stored.
    pub fn standing(&self, key: EventKey) -> Result<Option<Standing>> {
        match self.snapshot.get(tables::STANDING, &room_key(self.room, key.as_bytes()))? {
            None => Ok(None),
            Some(bytes) => Standing::decode(&bytes).map(Some).ok_or_else(|| damaged("STANDING")),
        }
    }

    /// The key of the event at (type, state key) in the state `root`.
    pub fn state_event_key(&self, root: Root, event_type: &str, state_key: &str) -> Result<Option<EventKey>> {
        Ok(tree::get(self, root, StateKeyId::of(event_type, state_key))?)
    }

    /// The event at (type, state key) in the state `root`.
    pub fn state_event(&self, root: Root, event_type: &str, state_key: &str) -> Result<Option<Pdu>> {
        match self.state_event_key(root, event_type, state_key)? {
            None => Ok(None),
            Some(key) => self.required(key).map(Some),
        }
    }

    /// An event that something stored refers to, so that its absence is damage.
    pub fn required(&self, key: EventKey) -> Result<Pdu> {
        self.pdu(key)?.ok_or_else(|| damaged("PDUS (an event that the state names is missing)"))
    }

    /// Like [`Self::required`], in stored form.
    pub fn required_stored(&self, key: EventKey) -> Result<StoredEvent> {
        self.stored(key)?.ok_or_else(|| damaged("PDUS (an event that the state names is missing)"))
    }

    /// Keys of all events of the state `root`.
    pub fn state(&self, root: Root) -> Result<Vec<EventKey>> {
        tree::entries(self, root).map(|entry| Ok(entry?.1)).collect()
    }

    /// Keys of the events of one type in the state `root`.
    pub fn state_of_type(&self, root: Root, event_type: &str) -> Result<Vec<EventKey>> {
        tree::entries_of_type(self, root, event_type).map(|entry| Ok(entry?.1)).collect()
    }

    /// Membership of a user in the state `root`; `None` without a member event.
    pub fn membership_in(&self, root: Root, user_id: &str) -> Result<Option<Membership>> {
        Ok(self.state_event(root, "m.room.member", user_id)?.as_ref().map(Membership::of))
    }

    /// Current membership row of a user.
    pub fn member(&self, user: UserKey) -> Result<Option<Member>> {
        match self.snapshot.get(tables::MEMBERS, &room_key(self.room, user.as_bytes()))? {
            None => Ok(None),
            Some(bytes) => decode_member(&bytes).map(Some).ok_or_else(|| damaged("MEMBERS")),
        }
    }

    /// All current membership rows.
    pub fn members(&self) -> Result<Vec<Member>> {
        self.snapshot
            .scan_prefix(tables::MEMBERS, self.room.as_bytes())
            .map(|row| decode_member(&row?.1).ok_or_else(|| damaged("MEMBERS")))
            .collect()
    }

    /// How many members the current state, whose root is `root`, has joined and invited. Counts anew only in a room that it has not counted
    /// of late; else it takes the last counts and what has changed since.
    pub fn member_counts(&self, root: Root) -> Result<MemberCounts> {
        let known = self.caches.counts(self.room);
        if let Some((at, counts)) = known
            && at == root
        {
            return Ok(counts);
        }
        let counts = match known.map(|(at, counts)| self.counts_since(at, counts, root)).transpose()?.flatten() {
            Some(counts) => counts,
            None => self.members()?.iter().fold(MemberCounts::default(), |mut counts, member| {
                count(&mut counts, member.membership, 1);
                counts
            }),
        };
        self.caches.put_counts(self.room, root, counts);
        Ok(counts)
    }

    /// The counts of `root`, from those of another state; `None` if that cannot be read any more.
    fn counts_since(&self, from: Root, mut counts: MemberCounts, root: Root) -> Result<Option<MemberCounts>> {
        let prefix = StateKeyId::type_prefix("m.room.member");
        let changes = match tree::diff(self, from, root) {
            Ok(changes) => changes,
            Err(tree::TreeError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        for change in changes.iter().filter(|change| change.key.as_bytes().starts_with(&prefix)) {
            for (event, by) in [(change.left, -1), (change.right, 1)] {
                if let Some(event) = event {
                    count(&mut counts, Membership::of(&self.required(event)?), by);
                }
            }
        }
        Ok(Some(counts))
    }

    /// The current root as of a position: what a client that had seen everything up to it knew.
    pub fn root_at(&self, position: Position) -> Result<Root> {
        match self.caches.root_at(self.room, position) {
            Some(RootAt::Current(root)) => return Ok(root),
            // A new root comes with an event.
            Some(RootAt::LastSeen { root, at }) if at <= self.snapshot.position() && self.is_quiet_after(at)? => {
                return Ok(root);
            }
            Some(RootAt::LastSeen { .. }) | None => {}
        }
        let start = room_key(self.room, &[]);
        let end = room_key(self.room, &position.saturating_add(1).to_be_bytes());
        let (root, from) = match self.snapshot.scan_rev(tables::ROOTS, start..end).next() {
            None => (Root::EMPTY, 0),
            Some(row) => {
                let (key, value) = row?;
                let root: [u8; 16] = value.as_ref().try_into().map_err(|_| damaged("ROOTS"))?;
                let from = key.get(16..24).and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| damaged("ROOTS"))?;
                (Root::from_bytes(root), Position::from_be_bytes(from))
            }
        };
        self.caches.put_root(self.room, root, from, position.min(self.snapshot.position()));
        Ok(root)
    }

    /// Whether a server has joined members.
    pub fn has_server(&self, server: &str) -> Result<bool> {
        Ok(self.snapshot.get(tables::ROOM_SERVERS, &room_key(self.room, server.as_bytes()))?.is_some())
    }

    /// Names of the servers with joined members in the state `root`, which has to be the current one.
    pub fn servers_in(&self, root: Root) -> Result<Servers> {
        if let Some(known) = self.caches.servers(self.room, root) {
            return Ok(known);
        }
        let servers: Servers = self.servers()?.into();
        self.caches.put_servers(self.room, root, &servers);
        Ok(servers)
    }

    /// Whether something is missing in what is here of the room's history.
    pub fn has_gaps(&self) -> Result<bool> {
        Ok(self.snapshot.scan_prefix(tables::GAPS, self.room.as_bytes()).next().transpose()?.is_some())
    }

    /// How many users of a server are joined.
    pub fn joined_of(&self, server: &str) -> Result<u32> {
        let row = room_key(self.room, server.as_bytes());
        let Some(count) = self.snapshot.get(tables::ROOM_SERVERS, &row)? else { return Ok(0) };
        count.as_ref().try_into().map(u32::from_be_bytes).map_err(|_| damaged("ROOM_SERVERS"))
    }

    /// Names of the servers with joined members.
    pub fn servers(&self) -> Result<Vec<String>> {
        self.snapshot
            .scan_prefix(tables::ROOM_SERVERS, self.room.as_bytes())
            .map(|row| {
                let (key, _) = row?;
                String::from_utf8(key.get(16..).unwrap_or_default().to_vec()).map_err(|_| damaged("ROOM_SERVERS"))
            })
            .collect()
    }
}

/// One member more, or one less.
fn count(counts: &mut MemberCounts, membership: Membership, by: i64) {
    match membership {
        Membership::Join => counts.joined = counts.joined.saturating_add_signed(by),
        Membership::Invite => counts.invited = counts.invited.saturating_add_signed(by),
        Membership::Leave | Membership::Ban | Membership::Knock => {}
    }
}

/// Encodes a row of `MEMBERS`: `membership, event (16), user id`.
pub(crate) fn encode_member(member: &Member) -> Vec<u8> {
    let mut out = Vec::with_capacity(17 + member.user_id.len());
    out.push(member.membership as u8);
    out.extend_from_slice(member.event.as_bytes());
    out.extend_from_slice(member.user_id.as_bytes());
    out
}

fn decode_member(bytes: &[u8]) -> Option<Member> {
    Some(Member {
        membership: Membership::from_byte(*bytes.first()?)?,
        event: EventKey::from_bytes(bytes.get(1..17)?.try_into().ok()?),
        user_id: std::str::from_utf8(bytes.get(17..)?).ok()?.to_owned(),
    })
}

impl Nodes for RoomReader {
    type Error = Error;
    type Bytes = Bytes;

    fn node(&self, hash: &NodeHash) -> Result<Option<Bytes>> {
        if let Some(node) = self.new_nodes.get(hash) {
            return Ok(Some(node.clone()));
        }
        if let Some(node) = self.caches.node(self.room, hash) {
            return Ok(Some(node));
        }
        let Some(node) = self.snapshot.get(tables::NODES, &room_key(self.room, hash.as_bytes()))? else {
            return Ok(None);
        };
        self.caches.put_node(self.room, *hash, node.clone());
        Ok(Some(node))
    }

    fn nodes(&self, hashes: &[NodeHash]) -> Result<Vec<Option<Bytes>>> {
        let mut found = self.caches.nodes(self.room, hashes);
        for (node, hash) in found.iter_mut().zip(hashes) {
            if let Some(new) = self.new_nodes.get(hash) {
                *node = Some(new.clone());
            }
        }
        let row = |hash: NodeHash| room_key(self.room, hash.as_bytes());
        self.read_missing(tables::NODES, hashes, &mut found, row, |hash, node| {
            self.caches.put_node(self.room, hash, node.clone());
            Ok(Some(node))
        })?;
        Ok(found)
    }
}

impl Events for RoomReader {
    type Error = Error;

    fn event(&self, key: EventKey) -> Result<Option<Pdu>> {
        self.pdu(key)
    }

    fn is_rejected(&self, key: EventKey) -> Result<bool> {
        if let Some(rejected) = self.new_rejected.get(&key) {
            return Ok(*rejected);
        }
        Ok(self.standing(key)?.is_some_and(|standing| standing.is_rejected()))
    }

    fn links(&self, key: EventKey) -> Result<Option<Links>> {
        auth_graph::links(self, key)
    }

    fn links_said(&self, event: &Pdu) -> Option<Links> {
        Some(Links::of(event))
    }

    fn citing(&self, key: EventKey, after: Option<EventKey>, limit: usize) -> Result<Option<Vec<Citing>>> {
        auth_graph::citing(self, key, after, limit).map(Some)
    }

    fn events(&self, keys: &[EventKey]) -> Result<Vec<Option<Pdu>>> {
        self.pdus(keys)
    }

    fn around(&self, keys: &[EventKey], limit: usize) -> Result<Vec<Around>> {
        auth_graph::around(self, keys, limit)
    }
}
