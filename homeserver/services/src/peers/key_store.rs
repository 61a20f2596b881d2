//! Remembered keys of other servers.

use crate::tables;
use async_trait::async_trait;
use federation::keys::{KeyStore, KeyStoreError};
use storage::{Batch, Class, Outcome, Store, key};

/// The key ring's memory in the store.
pub struct StoredKeys {
    store: Store,
}

impl StoredKeys {
    /// Memory in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

fn row(server_name: &str) -> Vec<u8> {
    key::Writer::new().str(server_name).finish()
}

#[async_trait]
impl KeyStore for StoredKeys {
    async fn load(&self, server_name: &str) -> Result<Option<Vec<u8>>, KeyStoreError> {
        match self.store.snapshot().get(tables::SERVER_KEYS, &row(server_name)) {
            Ok(record) => Ok(record.map(|record| record.to_vec())),
            Err(error) => Err(KeyStoreError(error.to_string())),
        }
    }

    async fn save(&self, server_name: &str, record: Vec<u8>) -> Result<(), KeyStoreError> {
        let mut batch = Batch::with_random_id(self.store.world());
        batch.class(Class::Logged).put(tables::SERVER_KEYS, &row(server_name), &record);
        match self.store.commit(batch).await {
            Outcome::Committed(_) => Ok(()),
            Outcome::Conflict(at) => Err(KeyStoreError(format!("an unexpected conflict in {}", at.table.name))),
            Outcome::Unknown(error) => Err(KeyStoreError(error.to_string())),
        }
    }
}
