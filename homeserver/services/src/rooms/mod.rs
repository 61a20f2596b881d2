//! Rooms: events, state, membership, history.
//!
//! [`Rooms::write`] is the one way to change a room: it hands a [`RoomWriter`] to a closure, commits what that placed, and runs the
//! closure again if another writer came first. [`Rooms::reader`] is the way to look at one.

pub mod activity;
pub mod aliases;
pub mod announced;
pub mod auth_graph;
pub mod caches;
pub mod client_event;
pub mod create;
pub mod directory;
pub mod erasure;
pub mod facts;
pub mod fields;
pub mod filter;
pub mod head;
pub mod history;
pub mod latest;
pub mod membership;
pub mod memberships;
pub mod policy;
pub mod power;
pub mod reader;
pub mod record;
pub mod redaction;
pub mod relations;
pub mod restricted;
pub mod send;
pub mod server_view;
pub mod standing;
pub mod sweep;
pub mod timeline;
pub mod unreadable;
pub mod visibility;
pub mod writer;

pub use reader::{Member, Membership, RoomReader};
pub use writer::{NewEvent, RoomWriter};

use crate::ephemeral::Ephemeral;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::tables;
use arc_swap::ArcSwap;
use bytes::Bytes;
use caches::Caches;
use head::Head;
use lru::LruCache;
use net::World;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use state_res::ids::{EventKey, RoomKey, UserKey};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use state_res::sign::SigningKey;
use state_res::tree::NodeHash;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use storage::{Outcome, Position, Snapshot, Store, Topic};

/// How often a write is tried again after other writers came first.
const MAX_TRIES: usize = 16;
/// How often one write asks the room's policy server: once per event, and again where the room changed so much that the event no longer fits.
const MAX_ASKED: usize = 8;
/// Rooms whose queue is kept in memory.
const HANDLES: usize = 4_096;

/// What every part of rooms works with.
pub struct RoomDeps {
    /// The store.
    pub store: Store,
    /// Clock and chance.
    pub world: World,
    /// Our server's name.
    pub server_name: String,
    /// Bounded memory of immutable things.
    pub caches: Arc<Caches>,
    /// The rooms of users who sync.
    pub user_rooms: activity::UserRooms,
    /// Rooms that could not be read of late.
    pub unreadable: unreadable::Unreadable,
    /// Rooms that are being swept.
    sweeping: Mutex<BTreeMap<RoomKey, sweep::Progress>>,
    /// Local users' profiles.
    pub profiles: Arc<dyn Profiles>,
    /// Who is typing: nobody who has left.
    pub ephemeral: Ephemeral,
    /// How often users may do things.
    pub limits: Arc<Limits>,
    /// What asks the rooms' policy servers.
    pub policy_servers: policy::PolicyServers,
    signing_key: ArcSwap<SigningKey>,
}

impl RoomDeps {
    /// The key that signs our events.
    #[must_use]
    pub fn signing_key(&self) -> Arc<SigningKey> {
        self.signing_key.load_full()
    }
}

/// The rooms that this server knows. Cheap to clone.
#[derive(Clone)]
pub struct Rooms {
    deps: Arc<RoomDeps>,
    handles: Arc<Mutex<LruCache<RoomKey, Arc<RoomHandle>>>>,
}

/// One room's queue of local writers: fair, and holding the head that the last of them left, committed or about to be.
#[derive(Default)]
struct RoomHandle {
    head: Arc<tokio::sync::Mutex<Option<(Head, Bytes)>>>,
}

/// What follows a commit.
struct Committing {
    deps: Arc<RoomDeps>,
    room: RoomKey,
    stored: Vec<record::StoredEvent>,
    made: Vec<facts::Facts>,
    epoch: u64,
    replaced: Vec<EventKey>,
    related: Vec<EventKey>,
    parsed: Vec<Pdu>,
    nodes: Vec<(NodeHash, Bytes)>,
    users: Vec<UserKey>,
}

impl Committing {
    fn finish(self, outcome: &Outcome) {
        if let Outcome::Committed(position) = outcome {
            let caches = &self.deps.caches;
            // Whoever wrote after this may be here first: then what follows is not remembered, as it may be outdated.
            let mut epoch = self.epoch;
            if !self.replaced.is_empty() || !self.related.is_empty() {
                let changed: Vec<EventKey> = self.replaced.iter().chain(&self.related).copied().collect();
                let changes = caches.forget_events(self.room, &changed);
                epoch += u64::from(changes == epoch + 1);
            }
            for stored in &self.stored {
                caches.put_stored(stored, epoch);
            }
            for facts in self.made.into_iter().filter(|facts| !self.related.contains(&facts.event.key())) {
                caches.put_facts(facts.event.key(), &Arc::new(facts.announced_at(*position)), epoch);
            }
            for pdu in self.parsed.iter().filter(|pdu| !self.replaced.contains(&pdu.key())) {
                caches.put_parsed(self.room, pdu, epoch);
            }
            for member in self.parsed.iter().filter(|pdu| pdu.event_type() == "m.room.member") {
                if let Some(user_id) = member.state_key().filter(|_| Membership::of(member) != Membership::Join) {
                    self.deps.ephemeral.end_typing(self.room, user_id);
                }
            }
            for (hash, bytes) in self.nodes {
                caches.put_node(self.room, hash, bytes);
            }
        }
        self.deps.user_rooms.end(&self.users);
        self.deps.caches.activity.end(self.room, outcome.position());
    }
}

/// Wakes those who follow a room.
#[must_use]
pub fn topic(room: RoomKey) -> Topic {
    Topic(*room.as_bytes())
}

/// Wakes those who follow a user: memberships, account data, to-device messages.
#[must_use]
pub fn user_topic(user: UserKey) -> Topic {
    Topic(*user.as_bytes())
}

/// What rooms ask about local users.
pub trait Profiles: Send + Sync {
    /// `displayname` and `avatar_url` of a local user, as member events carry them.
    ///
    /// # Errors
    /// A failing store.
    fn member_fields(&self, user_id: &str) -> Result<Map<String, Value>>;

    /// Whether there is an account of this name, not deactivated.
    ///
    /// # Errors
    /// A failing store.
    fn exists(&self, user_id: &str) -> Result<bool>;
}

impl Rooms {
    /// The rooms in `store`, whose events we sign with `signing_key`.
    #[must_use]
    pub fn new(
        store: Store,
        world: World,
        server_name: &str,
        signing_key: SigningKey,
        profiles: Arc<dyn Profiles>,
        ephemeral: Ephemeral,
        limits: Arc<Limits>,
    ) -> Self {
        let caches = Arc::new(Caches::default());
        if let Err(error) = caches.erasures.load(&store.snapshot()) {
            // The store will fail whoever reads from it next, too.
            tracing::error!(%error, "the list of erased users cannot be read");
        }
        Self {
            deps: Arc::new(RoomDeps {
                policy_servers: policy::PolicyServers::new(world.clone(), server_name),
                store,
                world,
                server_name: server_name.to_owned(),
                caches,
                user_rooms: activity::UserRooms::default(),
                unreadable: unreadable::Unreadable::default(),
                sweeping: Mutex::default(),
                profiles,
                ephemeral,
                limits,
                signing_key: ArcSwap::from_pointee(signing_key),
            }),
            handles: Arc::new(Mutex::new(LruCache::new(NonZeroUsize::new(HANDLES).unwrap_or(NonZeroUsize::MIN)))),
        }
    }

    /// Store, world, names and keys.
    #[must_use]
    pub fn deps(&self) -> &RoomDeps {
        &self.deps
    }

    /// A reader of a room as it is now.
    #[must_use]
    pub fn reader(&self, room: RoomKey) -> RoomReader {
        let epoch = self.deps.caches.changes();
        RoomReader::new(self.deps.store.snapshot(), room, Arc::clone(&self.deps.caches), epoch)
    }

    /// A reader of a room at a snapshot that the caller holds. `epoch` is what [`Caches::changes`] said before it was taken.
    #[must_use]
    pub fn reader_at(&self, snapshot: Snapshot, epoch: u64, room: RoomKey) -> RoomReader {
        RoomReader::new(snapshot, room, Arc::clone(&self.deps.caches), epoch)
    }

    /// A reader of a room that must exist, with its head.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND`.
    pub fn known(&self, room_id: &str) -> Result<(RoomReader, Head)> {
        let reader = self.reader(RoomKey::of(room_id));
        let head = reader.head()?.ok_or_else(|| Error::not_found(format!("This server knows no room {room_id}.")))?;
        Ok((reader, head))
    }

    /// The version of a room; `None` if we know no such room.
    pub fn version(&self, room_id: &str) -> Result<Option<RoomVersion>> {
        Ok(self.reader(RoomKey::of(room_id)).head()?.map(|head| head.room_version))
    }

    /// The id of a room by its key; `None` if we know no such room.
    pub fn room_id(&self, room: RoomKey) -> Result<Option<String>> {
        match self.deps.store.snapshot().get(tables::ROOM_IDS, room.as_bytes())? {
            None => Ok(None),
            Some(row) => Ok(row.get(1..).and_then(|id| std::str::from_utf8(id).ok()).map(str::to_owned)),
        }
    }

    /// Whether the room is known and has joined members of this server.
    pub fn is_resident(&self, room_id: &str) -> Result<bool> {
        self.reader(RoomKey::of(room_id)).has_server(&self.deps.server_name)
    }

    fn handle(&self, room: RoomKey) -> Arc<RoomHandle> {
        Arc::clone(self.handles.lock().get_or_insert(room, Arc::default))
    }

    /// Changes a room: runs `work` on a writer and commits what it placed. `work` runs again, on a new writer, where another
    /// writer came first; its errors end the write and change nothing. A writer left empty commits nothing.
    ///
    /// In a room with a policy server, that is asked about what `work` sends, while nobody holds the room; then `work` runs again, and sends the
    /// same with the policy server's signature.
    ///
    /// Gives what `work` gave, and the position after which readers see it.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND` for an unknown room; what `work` says; what the policy server says, or that it says nothing.
    pub async fn write<R>(
        &self,
        room_id: &str,
        work: impl FnMut(&mut RoomWriter<'_>) -> Result<R>,
    ) -> Result<(R, Position)> {
        self.write_inner(room_id, None, work).await
    }

    /// Like [`Self::write`], for a room that may not exist yet: then it begins as an empty one of `version`.
    pub async fn write_new<R>(
        &self,
        room_id: &str,
        version: RoomVersion,
        work: impl FnMut(&mut RoomWriter<'_>) -> Result<R>,
    ) -> Result<(R, Position)> {
        self.write_inner(room_id, Some(version), work).await
    }

    async fn write_inner<R>(
        &self,
        room_id: &str,
        new: Option<RoomVersion>,
        mut work: impl FnMut(&mut RoomWriter<'_>) -> Result<R>,
    ) -> Result<(R, Position)> {
        let room = RoomKey::of(room_id);
        let handle = self.handle(room);
        let mut signed: Vec<policy::Unsigned> = Vec::new();
        let mut asked = 0;
        let mut tries = 0;
        let mut patience = sweep::Patience::new();
        while tries < MAX_TRIES {
            let mut queue = Arc::clone(&handle.head).lock_owned().await;
            let reader = self.reader(room);
            let (head, head_before) = match queue.as_ref() {
                Some((head, bytes)) => (head.clone(), Some(bytes.clone())),
                None => match reader.snapshot().get(tables::HEAD, room.as_bytes())? {
                    Some(bytes) => {
                        let head = Head::decode(&bytes).ok_or_else(|| {
                            Error::internal("a row of table HEAD cannot be read: the data directory is damaged")
                        })?;
                        (head, Some(bytes))
                    }
                    None => match new {
                        Some(version) => (Head::new(version), None),
                        None => return Err(Error::not_found(format!("This server knows no room {room_id}."))),
                    },
                },
            };
            let mut writer = RoomWriter::new(&self.deps, reader, room_id, head, head_before, &signed);
            let result = work(&mut writer);
            if let Some(mut unsigned) = writer.unsigned.take() {
                drop((writer, queue));
                if asked == MAX_ASKED {
                    return Err(Error::contended());
                }
                asked += 1;
                let servers = &self.deps.policy_servers;
                unsigned.event = servers.sign(&unsigned.policy, &unsigned.event, policy::Whose::Ours).await?;
                signed.retain(|earlier| earlier.source != unsigned.source);
                signed.push(unsigned);
                continue;
            }
            let result = result?;
            tries += 1;
            if writer.is_empty() {
                let position = self.deps.store.position();
                return Ok((result, position));
            }
            let prepared = match writer.finish() {
                Ok(prepared) => prepared,
                Err(error) => {
                    // Others may go on meanwhile.
                    drop(queue);
                    patience.wait(&self.deps.world, error).await?;
                    continue;
                }
            };
            // Queued in the store before the queue of the room is left: batches enter the log in the order of their heads.
            *queue = Some((prepared.head, prepared.head_bytes));
            let waits = prepared.waits;
            let store = self.deps.store.clone();
            let batch = prepared.batch;
            let mut commit = Box::pin(async move { store.commit(batch).await });
            self.deps.caches.activity.begin(room);
            self.deps.user_rooms.begin(&prepared.users);
            let first = futures::poll!(commit.as_mut());
            let rest = Committing {
                deps: Arc::clone(&self.deps),
                room,
                stored: prepared.stored,
                made: prepared.made,
                epoch: prepared.epoch,
                replaced: prepared.replaced,
                related: prepared.related,
                parsed: prepared.parsed,
                nodes: prepared.nodes,
                users: prepared.users,
            };
            let mut held = waits.then_some(queue);
            let handle = Arc::clone(&handle);
            let committing = async move {
                let outcome = match first {
                    std::task::Poll::Ready(outcome) => outcome,
                    std::task::Poll::Pending => commit.await,
                };
                rest.finish(&outcome);
                if outcome.position().is_none() {
                    match held.as_mut() {
                        Some(queue) => **queue = None,
                        None => *handle.head.lock().await = None,
                    }
                }
                outcome
            };
            // What follows the commit is not left undone when a client goes away; and who holds up others does not depend on who waits for it
            // being looked after.
            let world = &self.deps.world;
            let outcome = if waits {
                world.spawn("room commit", committing).join().await.map_err(Error::internal)?
            } else {
                world.see_through("room commit", committing).await
            };
            match outcome {
                Outcome::Committed(position) => return Ok((result, position)),
                Outcome::Conflict(_) => {}
                Outcome::Unknown(cause) => return Err(cause.into()),
            }
        }
        Err(Error::new(503, "M_UNKNOWN", format!("Too many writers in {room_id} at once; try again.")))
    }
}
