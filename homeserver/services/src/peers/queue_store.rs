//! The outbox as the outbound queues read it.

use crate::outbox;
use crate::rooms::record::StoredEvent;
use crate::tables;
use async_trait::async_trait;
use federation::RawJson;
use federation::queue::{QueueStore, QueueStoreError, Queued, Row, RowId};
use serde::Deserialize;
use state_res::ids::{EventKey, RoomKey};
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;
use storage::{Batch, Class, Outcome, Snapshot, StorageError, Store, key};

/// How many rows may wait for a destination that has been away for [`AWAY_FOR`], before only the newest word on each matter is kept.
pub const MAX_WAITING_ROWS: usize = 1_000;
/// How many to-device messages may wait for such a destination; older ones are given up.
pub const MAX_WAITING_MESSAGES: usize = 10_000;
/// For how long a destination has to have been failing before its rows are looked at.
pub const AWAY_FOR: Duration = Duration::from_secs(60 * 60);
/// How often that is done.
pub const COMPACT_EVERY: Duration = Duration::from_secs(15 * 60);
/// Bytes of one batch of deletions.
const STEP: usize = 256 * 1024;

/// What a row is the newest word on.
#[derive(PartialEq, Eq, Hash)]
enum Matter {
    /// A room: whoever gets its newest event asks for those before it.
    Room(RoomKey),
    /// A user's device list or cross-signing keys: whoever misses an update of the former fetches the list.
    Keys(String, String),
}

/// Rows of table `OUTBOX` in the store.
pub struct StoredQueue {
    store: Store,
    server_name: String,
}

impl StoredQueue {
    /// The outbox of `server_name` in `store`.
    #[must_use]
    pub fn new(store: Store, server_name: &str) -> Self {
        Self { store, server_name: server_name.to_owned() }
    }

    /// Deletes what a destination that is away for long can do without: of the events of each room all but the newest, and of the
    /// announcements of each user's devices and keys all but the last. To-device messages are kept, up to [`MAX_WAITING_MESSAGES`].
    ///
    /// Does nothing where no more than [`MAX_WAITING_ROWS`] wait. Gives how many were deleted.
    ///
    /// # Errors
    /// A failing store.
    pub async fn compact(&self, destination: &str) -> Result<usize, StorageError> {
        let prefix = key::Writer::new().str(destination).finish();
        let old = {
            let (name, prefix) = (destination.to_owned(), prefix.clone());
            self.store.read(move |snapshot| superseded(snapshot, &name, &prefix)).await?
        };
        let count = old.len();
        let mut batch = Batch::with_random_id(self.store.world());
        for row in old {
            batch.delete(tables::OUTBOX, &row);
            if batch.encoded_len() >= STEP {
                let full = std::mem::replace(&mut batch, Batch::with_random_id(self.store.world()));
                self.delete(full).await?;
            }
        }
        if !batch.is_empty() {
            self.delete(batch).await?;
        }
        if count > 0 {
            tracing::warn!(
                destination,
                rows = count,
                "the queue of a server that is away was cut to the newest of each room"
            );
        }
        Ok(count)
    }

    async fn delete(&self, batch: Batch) -> Result<(), StorageError> {
        match self.store.commit(batch).await {
            Outcome::Unknown(error) => Err(error),
            // There is nothing to conflict with.
            Outcome::Committed(_) | Outcome::Conflict(_) => Ok(()),
        }
    }

    /// Destinations with rows, found by skipping from one to the next.
    ///
    /// # Errors
    /// A failing store.
    pub fn waiting(&self) -> Result<Vec<String>, StorageError> {
        let snapshot = self.store.snapshot();
        let mut found = Vec::new();
        let mut start = Vec::new();
        loop {
            let Some(row) = snapshot.scan(tables::OUTBOX, start..Vec::new()).next() else { return Ok(found) };
            let destination = key::Reader::new(&row?.0).str()?;
            start = key::prefix_end(&key::Writer::new().str(&destination).finish());
            found.push(destination);
        }
    }
}

fn failed(error: impl std::fmt::Display) -> QueueStoreError {
    QueueStoreError(error.to_string())
}

/// The rows of a destination, newest first, that newer ones make superfluous.
fn superseded(snapshot: &Snapshot, destination: &str, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StorageError> {
    if snapshot.scan_prefix(tables::OUTBOX, prefix).take(MAX_WAITING_ROWS + 1).count() <= MAX_WAITING_ROWS {
        return Ok(Vec::new());
    }
    let (mut seen, mut old, mut messages, mut lost) = (HashSet::new(), Vec::new(), 0, 0);
    let end = key::prefix_end(prefix);
    for row in snapshot.scan_rev(tables::OUTBOX, prefix.to_vec()..end) {
        let (row, value) = row?;
        let matter = match value.split_first() {
            Some((&outbox::PDU, event)) => {
                let event: Option<[u8; 16]> = event.try_into().ok();
                let stored = match event.map(EventKey::from_bytes) {
                    Some(event) => snapshot
                        .get(tables::PDUS, event.as_bytes())?
                        .and_then(|bytes| StoredEvent::decode(event, bytes)),
                    None => None,
                };
                stored.map(|stored| Matter::Room(stored.room()))
            }
            Some((&outbox::EDU, edu)) => match matter_of(edu) {
                Some(matter) => Some(matter),
                None => {
                    messages += 1;
                    if messages > MAX_WAITING_MESSAGES {
                        lost += 1;
                        old.push(row.to_vec());
                    }
                    continue;
                }
            },
            _ => None,
        };
        // What is no longer there need not wait either.
        if matter.is_none_or(|matter| !seen.insert(matter)) {
            old.push(row.to_vec());
        }
    }
    if lost > 0 {
        tracing::warn!(destination, lost, "to-device messages to a server that is away are given up");
    }
    Ok(old)
}

/// What an EDU is the newest word on; `None` for one that no other replaces.
fn matter_of(edu: &[u8]) -> Option<Matter> {
    #[derive(Deserialize)]
    struct Edu {
        edu_type: String,
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        user_id: Option<String>,
    }
    let edu: Edu = serde_json::from_slice(edu).ok()?;
    let replaceable = matches!(edu.edu_type.as_str(), "m.device_list_update" | "m.signing_key_update");
    edu.content.user_id.filter(|_| replaceable).map(|user| Matter::Keys(edu.edu_type, user))
}

#[async_trait]
impl QueueStore for StoredQueue {
    async fn destinations(&self) -> Result<Vec<String>, QueueStoreError> {
        self.waiting().map_err(failed)
    }

    async fn peers(&self) -> Result<Vec<String>, QueueStoreError> {
        let own = self.server_name.clone();
        self.store
            .read(move |snapshot| {
                let mut peers = BTreeSet::new();
                for row in snapshot.scan_prefix(tables::ROOM_SERVERS, b"") {
                    let (key, _) = row.map_err(failed)?;
                    let name = String::from_utf8_lossy(key.get(16..).unwrap_or_default()).into_owned();
                    if name != own {
                        peers.insert(name);
                    }
                }
                Ok(peers.into_iter().collect())
            })
            .await
    }

    async fn pending(&self, destination: &str, limit: usize) -> Result<Vec<Row>, QueueStoreError> {
        let snapshot = self.store.snapshot();
        let prefix = key::Writer::new().str(destination).finish();
        let mut rows = Vec::new();
        for row in snapshot.scan_prefix(tables::OUTBOX, &prefix).take(limit) {
            let (row_key, value) = row.map_err(failed)?;
            let mut place = key::Reader::new(row_key.get(prefix.len()..).unwrap_or_default());
            let id = RowId { position: place.u64().map_err(failed)?, ordinal: u32::from(place.u16().map_err(failed)?) };
            let content = match value.split_first() {
                Some((&outbox::PDU, event)) => {
                    let event: [u8; 16] = event.try_into().map_err(failed)?;
                    let event = EventKey::from_bytes(event);
                    let row = snapshot.get(tables::PDUS, event.as_bytes()).map_err(failed)?;
                    row.and_then(|row| StoredEvent::decode(event, row))
                        .map_or(Queued::Gone, |stored| Queued::Pdu(RawJson::from_known(stored.canonical_bytes())))
                }
                Some((&outbox::EDU, edu)) => Queued::Edu(RawJson::from_known(edu.to_vec())),
                _ => Queued::Gone,
            };
            rows.push(Row { id, content });
        }
        Ok(rows)
    }

    async fn acknowledge(&self, destination: &str, through: RowId) -> Result<(), QueueStoreError> {
        let start = key::Writer::new().str(destination).finish();
        // Ordinals are 16 bits wide in the rows.
        let last = u16::try_from(through.ordinal).unwrap_or(u16::MAX);
        let mut end = key::Writer::new().str(destination).u64(through.position).u16(last).finish();
        end.push(0);
        let mut batch = Batch::with_random_id(self.store.world());
        batch.class(Class::Logged);
        batch.delete_range(tables::OUTBOX, &start, &end);
        match self.store.commit(batch).await {
            Outcome::Committed(_) => Ok(()),
            Outcome::Conflict(at) => Err(failed(format!("an unexpected conflict in {}", at.table.name))),
            Outcome::Unknown(error) => Err(failed(error)),
        }
    }
}
