//! The outbox as the outbound queues read it.

use crate::outbox;
use crate::rooms::record::StoredEvent;
use crate::tables;
use async_trait::async_trait;
use federation::RawJson;
use federation::queue::{QueueStore, QueueStoreError, Queued, Row, RowId};
use state_res::ids::EventKey;
use std::collections::BTreeSet;
use storage::{Batch, Class, Outcome, StorageError, Store, key};

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
