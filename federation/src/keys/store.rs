//! Where keys of other servers are remembered.

use std::collections::BTreeMap;

use async_trait::async_trait;
use parking_lot::Mutex;

/// Remembers one opaque record per server for good: old events need old keys long after their server is gone.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// The record last saved for a server.
    ///
    /// # Errors
    ///
    /// If it cannot be read; the keys are then fetched.
    async fn load(&self, server_name: &str) -> Result<Option<Vec<u8>>, KeyStoreError>;

    /// Replaces a server's record. It need not be synced: losing the latest one costs a fetch.
    ///
    /// # Errors
    ///
    /// If it cannot be written; that is logged.
    async fn save(&self, server_name: &str, record: Vec<u8>) -> Result<(), KeyStoreError>;
}

/// Why a record could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyStoreError(pub String);

/// Remembers keys as long as the process lives: for tests and tools.
#[derive(Debug, Default)]
pub struct ForgetfulKeyStore {
    records: Mutex<BTreeMap<String, Vec<u8>>>,
}

#[async_trait]
impl KeyStore for ForgetfulKeyStore {
    async fn load(&self, server_name: &str) -> Result<Option<Vec<u8>>, KeyStoreError> {
        Ok(self.records.lock().get(server_name).cloned())
    }

    async fn save(&self, server_name: &str, record: Vec<u8>) -> Result<(), KeyStoreError> {
        self.records.lock().insert(server_name.to_owned(), record);
        Ok(())
    }
}
