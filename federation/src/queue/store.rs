//! Where queues are kept.

use std::collections::BTreeMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::RawJson;

/// Keeps what waits for each destination, in order, across restarts.
///
/// Rows are written by whoever has something to send, in the batch that makes it so; [`crate::queue::Queues::wake`] then says that there
/// is something. Here they are only read and deleted.
#[async_trait]
pub trait QueueStore: Send + Sync + 'static {
    /// The destinations that have rows, in any order.
    ///
    /// # Errors
    ///
    /// If they cannot be read; it is tried again.
    async fn destinations(&self) -> Result<Vec<String>, QueueStoreError>;

    /// The servers that share rooms with us, in any order.
    ///
    /// # Errors
    ///
    /// If they cannot be read; it is tried again.
    async fn peers(&self) -> Result<Vec<String>, QueueStoreError>;

    /// The first rows of a destination, at most `limit`, in order of position.
    ///
    /// # Errors
    ///
    /// If they cannot be read; it is tried again.
    async fn pending(&self, destination: &str, limit: usize) -> Result<Vec<Row>, QueueStoreError>;

    /// The destination has taken all rows up to and including this one: they are deleted. That need not be synced; a row that comes back
    /// after a crash is sent again under the same transaction id.
    ///
    /// # Errors
    ///
    /// If they cannot be deleted; the rows are then sent again.
    async fn acknowledge(&self, destination: &str, through: RowId) -> Result<(), QueueStoreError>;
}

/// Why a queue could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueueStoreError(pub String);

/// A row's place in its destination's queue; later rows have greater ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    /// The position in the store's log at which the row was written.
    pub position: u64,
    /// Its number among the rows written there.
    pub ordinal: u32,
}

/// What waits.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its place.
    pub id: RowId,
    /// What is to be sent.
    pub content: Queued,
}

/// What a row holds.
#[derive(Clone, Debug)]
pub enum Queued {
    /// An event, as it goes over the wire.
    Pdu(RawJson),
    /// An EDU that must not get lost, whole (`edu_type` and `content`).
    Edu(RawJson),
    /// Something that is no longer there; it is passed over.
    Gone,
}

/// Keeps queues as long as it lives: for tests and tools.
#[derive(Debug, Default)]
pub struct MemoryQueueStore {
    state: Mutex<MemoryState>,
}

#[derive(Debug, Default)]
struct MemoryState {
    position: u64,
    rows: BTreeMap<String, BTreeMap<RowId, Queued>>,
    peers: Vec<String>,
}

impl MemoryQueueStore {
    /// Adds a row.
    pub fn push(&self, destination: &str, content: Queued) {
        let mut state = self.state.lock();
        state.position += 1;
        let id = RowId { position: state.position, ordinal: 0 };
        state.rows.entry(destination.to_owned()).or_default().insert(id, content);
    }

    /// Sets the servers that share rooms with us.
    pub fn set_peers(&self, peers: &[&str]) {
        self.state.lock().peers = peers.iter().map(|peer| (*peer).to_owned()).collect();
    }

    /// How many rows a destination has.
    pub fn count(&self, destination: &str) -> usize {
        self.state.lock().rows.get(destination).map_or(0, BTreeMap::len)
    }
}

#[async_trait]
impl QueueStore for MemoryQueueStore {
    async fn destinations(&self) -> Result<Vec<String>, QueueStoreError> {
        let state = self.state.lock();
        Ok(state.rows.iter().filter(|(_, rows)| !rows.is_empty()).map(|(destination, _)| destination.clone()).collect())
    }

    async fn peers(&self) -> Result<Vec<String>, QueueStoreError> {
        Ok(self.state.lock().peers.clone())
    }

    async fn pending(&self, destination: &str, limit: usize) -> Result<Vec<Row>, QueueStoreError> {
        let state = self.state.lock();
        let rows = state.rows.get(destination).into_iter().flatten().take(limit);
        Ok(rows.map(|(id, content)| Row { id: *id, content: content.clone() }).collect())
    }

    async fn acknowledge(&self, destination: &str, through: RowId) -> Result<(), QueueStoreError> {
        if let Some(rows) = self.state.lock().rows.get_mut(destination) {
            rows.retain(|id, _| *id > through);
        }
        Ok(())
    }
}
