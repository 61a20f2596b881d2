//! What rooms keep in memory: bounded, and only of things that never change once they are stored.

use super::activity::Activity;
use super::announced::Tail;
use super::erasure::Erasures;
use super::facts::Facts;
use super::latest::Latest;
use super::reader::Membership;
use super::record::StoredEvent;
use super::visibility::HistoryVisibility;
use crate::tables;
use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use state_res::ids::{EventKey, RoomKey, UserKey};
use state_res::pdu::Pdu;
use state_res::tree::{NodeHash, Root};
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::Position;

/// Parsed events kept for authorisation and resolution.
const PARSED_EVENTS: usize = 2_000;
/// Stored events kept for timelines, and what is known about events.
const STORED_EVENTS: usize = 4_000;
/// Longer ones are not kept: memory stays bounded whatever people send.
const LONGEST_STORED: usize = 8 * 1024;
/// Nodes of state trees.
const NODES: usize = 64_000;
/// Rooms whose current root and numbers of members are kept.
const COUNTED_ROOMS: usize = 2_000;
/// Rooms whose servers are kept.
const SERVERS: usize = 500;
/// Rooms the end of whose timeline is kept.
const TAILS: usize = 1_000;
/// Rooms of which the newest events are kept, ready to be shown.
const LATEST: usize = 256;
/// States of which is kept what they let a user see.
const PERSPECTIVES: usize = 8_000;

/// Names of servers.
pub type Servers = Arc<[String]>;

/// What a state says of a user's view: the visibility of history, and their membership.
pub type Perspective = (HistoryVisibility, Option<Membership>);

/// A root that was a room's current one throughout a stretch of the log, both ends included.
#[derive(Debug, Clone, Copy)]
struct KnownRoot {
    root: Root,
    from: Position,
    to: Position,
}

/// What [`Caches::root_at`] knows of a room's root at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootAt {
    /// This one was current there.
    Current(Root),
    /// This one was current at an earlier position, and may still have been there.
    LastSeen {
        /// The root.
        root: Root,
        /// The last position at which it is known to have been current.
        at: Position,
    },
}

/// How many users a state has joined and invited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemberCounts {
    /// Joined members.
    pub joined: u64,
    /// Invited members.
    pub invited: u64,
}

/// Caches shared by all rooms.
pub struct Caches {
    parsed: Mutex<LruCache<EventKey, (RoomKey, Pdu)>>,
    stored: Mutex<LruCache<EventKey, StoredEvent>>,
    facts: Mutex<LruCache<EventKey, Arc<Facts>>>,
    nodes: Mutex<LruCache<(RoomKey, NodeHash), Bytes>>,
    /// Which state each room had, and from where to where in the log.
    roots: Mutex<LruCache<RoomKey, KnownRoot>>,
    /// The counts of each room's state of late.
    counts: Mutex<LruCache<RoomKey, (Root, MemberCounts)>>,
    /// The servers in each room's state of late.
    servers: Mutex<LruCache<RoomKey, (Root, Servers)>>,
    /// The end of each room's timeline.
    tails: Mutex<LruCache<RoomKey, Arc<Tail>>>,
    /// The newest events of each room.
    latest: Mutex<LruCache<RoomKey, Arc<Latest>>>,
    perspectives: Cache<(RoomKey, Root, UserKey), Perspective>,
    changes: AtomicU64,
    /// When something last happened in each room.
    pub activity: Activity,
    /// Users whose content is erased.
    pub erasures: Erasures,
}

impl Default for Caches {
    fn default() -> Self {
        Self {
            parsed: Mutex::new(cache(PARSED_EVENTS)),
            stored: Mutex::new(cache(STORED_EVENTS)),
            facts: Mutex::new(cache(STORED_EVENTS)),
            nodes: Mutex::new(cache(NODES)),
            roots: Mutex::new(cache(COUNTED_ROOMS)),
            counts: Mutex::new(cache(COUNTED_ROOMS)),
            servers: Mutex::new(cache(SERVERS)),
            tails: Mutex::new(cache(TAILS)),
            latest: Mutex::new(cache(LATEST)),
            perspectives: Cache::new(PERSPECTIVES),
            changes: AtomicU64::new(0),
            activity: Activity::of(tables::TIMELINE),
            erasures: Erasures::default(),
        }
    }
}

/// A cache that grows up to so many entries. Memory for all of them from the start would be touched here and there.
fn cache<K: Hash + Eq, V>(size: usize) -> LruCache<K, V> {
    let mut cache = LruCache::unbounded();
    cache.resize(NonZeroUsize::new(size).unwrap_or(NonZeroUsize::MIN));
    cache
}

impl Caches {
    /// A parsed event of a room.
    pub fn parsed(&self, room: RoomKey, key: EventKey) -> Option<Pdu> {
        self.parsed.lock().get(&key).filter(|(of, _)| *of == room).map(|(_, pdu)| pdu.clone())
    }

    /// How many times events' bytes or facts have changed. A reader notes it before it takes its snapshot; what it read is not
    /// remembered if the number has grown since, or an event's old bytes might come back after their redaction.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Remembers a parsed event of a room that was read when [`Self::changes`] was `epoch`.
    pub fn put_parsed(&self, room: RoomKey, pdu: &Pdu, epoch: u64) {
        if pdu.canonical().len() > LONGEST_STORED {
            return;
        }
        let mut cache = self.parsed.lock();
        if self.changes() == epoch {
            cache.put(pdu.key(), (room, pdu.clone()));
        }
    }

    /// A stored event.
    pub fn stored(&self, key: EventKey) -> Option<StoredEvent> {
        self.stored.lock().get(&key).cloned()
    }

    /// Remembers a stored event that was read when [`Self::changes`] was `epoch`.
    pub fn put_stored(&self, event: &StoredEvent, epoch: u64) {
        if event.bytes().len() > LONGEST_STORED {
            return;
        }
        let mut cache = self.stored.lock();
        if self.changes() == epoch {
            cache.put(event.key(), event.clone());
        }
    }

    /// What is known about a placed event.
    pub fn facts(&self, key: EventKey) -> Option<Arc<Facts>> {
        self.facts.lock().get(&key).cloned()
    }

    /// Remembers facts that were read when [`Self::changes`] was `epoch`.
    pub fn put_facts(&self, key: EventKey, facts: &Arc<Facts>, epoch: u64) {
        if facts.event.bytes().len() > LONGEST_STORED {
            return;
        }
        let mut cache = self.facts.lock();
        if self.changes() == epoch {
            cache.put(key, Arc::clone(facts));
        }
    }

    /// Forgets events of a room whose bytes were replaced by their redaction, or whose [`Facts`] have changed. To be called once the change
    /// can be read. Gives how many changes there have been with this one.
    pub fn forget_events(&self, room: RoomKey, keys: &[EventKey]) -> u64 {
        let mut parsed = self.parsed.lock();
        let mut stored = self.stored.lock();
        let mut facts = self.facts.lock();
        let mut latest = self.latest.lock();
        let changes = self.changes.fetch_add(1, Ordering::AcqRel) + 1;
        latest.pop(&room);
        for key in keys {
            parsed.pop(key);
            stored.pop(key);
            facts.pop(key);
        }
        changes
    }

    /// A node of a room's state tree.
    pub fn node(&self, room: RoomKey, hash: &NodeHash) -> Option<Bytes> {
        self.nodes.lock().get(&(room, *hash)).cloned()
    }

    /// Several nodes of a room's state trees, in their order.
    pub fn nodes(&self, room: RoomKey, hashes: &[NodeHash]) -> Vec<Option<Bytes>> {
        let mut nodes = self.nodes.lock();
        hashes.iter().map(|hash| nodes.get(&(room, *hash)).cloned()).collect()
    }

    /// Forgets nodes that are no longer stored.
    pub fn forget_nodes(&self, room: RoomKey, hashes: &[NodeHash]) {
        let mut nodes = self.nodes.lock();
        for hash in hashes {
            nodes.pop(&(room, *hash));
        }
    }

    /// Forgets what is known of a room that is no longer stored. Its events are forgotten one by one: [`Self::forget_events`].
    pub fn forget_room(&self, room: RoomKey) {
        let mut nodes = self.nodes.lock();
        let gone: Vec<(RoomKey, NodeHash)> = nodes.iter().map(|(key, _)| *key).filter(|(of, _)| *of == room).collect();
        for key in gone {
            nodes.pop(&key);
        }
        drop(nodes);
        self.forget_past(room);
        self.counts.lock().pop(&room);
    }

    /// Remembers a node.
    pub fn put_node(&self, room: RoomKey, hash: NodeHash, bytes: Bytes) {
        self.nodes.lock().put((room, hash), bytes);
    }

    /// What is known of a room's root at a position; `None` if nothing is.
    pub fn root_at(&self, room: RoomKey, position: Position) -> Option<RootAt> {
        let known = self.roots.lock().get(&room).copied()?;
        if position > known.to {
            return Some(RootAt::LastSeen { root: known.root, at: known.to });
        }
        (position >= known.from).then_some(RootAt::Current(known.root))
    }

    /// Remembers that `root` became current at `from` and was so at `to`. What the log holds up to a position never changes.
    pub fn put_root(&self, room: RoomKey, root: Root, from: Position, to: Position) {
        let mut roots = self.roots.lock();
        if roots.peek(&room).is_none_or(|known| known.to < to) {
            roots.put(room, KnownRoot { root, from, to });
        }
    }

    /// Forgets what was current and announced when, in a room whose past is being purged. To be called once the change can be read.
    pub fn forget_past(&self, room: RoomKey) {
        let mut tails = self.tails.lock();
        let mut latest = self.latest.lock();
        self.changes.fetch_add(1, Ordering::AcqRel);
        tails.pop(&room);
        latest.pop(&room);
        self.roots.lock().pop(&room);
    }

    /// The end of a room's timeline, as far as it is known.
    pub fn tail(&self, room: RoomKey) -> Option<Arc<Tail>> {
        self.tails.lock().get(&room).cloned()
    }

    /// Remembers the end of a timeline that was read when [`Self::changes`] was `epoch`.
    pub fn put_tail(&self, room: RoomKey, tail: Tail, epoch: u64) {
        let mut tails = self.tails.lock();
        if self.changes() == epoch && tails.peek(&room).is_none_or(|known| tail.is_newer_than(known)) {
            tails.put(room, Arc::new(tail));
        }
    }

    /// The newest events of a room, as far as they are known.
    pub fn latest(&self, room: RoomKey) -> Option<Arc<Latest>> {
        self.latest.lock().get(&room).cloned()
    }

    /// Remembers the newest events of a room that were read when [`Self::changes`] was `epoch`.
    pub fn put_latest(&self, room: RoomKey, latest: &Arc<Latest>, epoch: u64) {
        let mut known = self.latest.lock();
        if self.changes() == epoch && known.peek(&room).is_none_or(|known| latest.is_newer_than(known)) {
            known.put(room, Arc::clone(latest));
        }
    }

    /// What a state lets a user see, if that is known. What a state says never changes.
    pub fn perspective(&self, room: RoomKey, root: Root, user: UserKey) -> Option<Perspective> {
        self.perspectives.get(&(room, root, user))
    }

    /// Remembers what a state lets a user see.
    pub fn put_perspective(&self, room: RoomKey, root: Root, user: UserKey, perspective: Perspective) {
        self.perspectives.insert((room, root, user), perspective);
    }

    /// The servers with joined members in a room's state `root`, if they are known.
    pub fn servers(&self, room: RoomKey, root: Root) -> Option<Servers> {
        self.servers.lock().get(&room).filter(|(known, _)| *known == root).map(|(_, servers)| Arc::clone(servers))
    }

    /// Remembers the servers with joined members in a room's state `root`.
    pub fn put_servers(&self, room: RoomKey, root: Root, servers: &Servers) {
        self.servers.lock().put(room, (root, Arc::clone(servers)));
    }

    /// The last state of a room whose members were counted, and their numbers.
    pub fn counts(&self, room: RoomKey) -> Option<(Root, MemberCounts)> {
        self.counts.lock().get(&room).copied()
    }

    /// Remembers the numbers of members of a room's state `root`.
    pub fn put_counts(&self, room: RoomKey, root: Root, counts: MemberCounts) {
        self.counts.lock().put(room, (root, counts));
    }
}
