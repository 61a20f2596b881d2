//! Leases: work with effects outside is done by one process at a time.
//!
//! Who holds a lease is a row that changes with each holder, with a fence that only grows. Until when it holds is another row, so
//! that renewing does not invalidate the batches that name the first. Time decides only who may try; that two holders never both
//! act rests on the fence, which every batch of a holder names ([`Lease::precondition`]).

use std::time::Duration;

use crate::{
    Batch, Outcome, Precondition, StorageError, Store, Version, limits,
    schema::{LEASE_ENDS, LEASES},
};

/// The leases of a store.
#[derive(Clone)]
pub struct Leases {
    pub(crate) store: Store,
}

/// A lease that was acquired. It holds until it runs out or another owner acquires it; batches that name its
/// [`Lease::precondition`] are refused after that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The lease's name.
    pub name: String,
    /// Grows with each holder.
    pub fence: u64,
    row: Vec<u8>,
}

impl Leases {
    /// Takes the lease for `ttl` if it is free, has run out, or was last held by the same owner (before a restart, say). `None`
    /// if another owner holds it.
    ///
    /// # Errors
    ///
    /// [`StorageError`] if it cannot be known.
    pub async fn acquire(&self, name: &str, owner: &str, ttl: Duration) -> Result<Option<Lease>, StorageError> {
        if name.len().max(owner.len()) > limits::MAX_NAME_BYTES {
            return Err(StorageError::Invalid(format!(
                "a lease's name or owner is longer than {}",
                limits::MAX_NAME_BYTES
            )));
        }
        let snapshot = self.store.snapshot();
        let held = snapshot.get(LEASES, name.as_bytes())?;
        let end = snapshot.get(LEASE_ENDS, name.as_bytes())?;
        let now = self.store.world().now().millis();
        let mut fence = 0;
        if let Some(row) = &held {
            let (last_fence, last_owner) = read_row(row)?;
            fence = last_fence;
            let runs_until = end.as_deref().map_or(Ok(0), read_end)?;
            if last_owner != owner.as_bytes() && runs_until > now {
                return Ok(None);
            }
        }
        let lease = Lease::new(name, fence + 1, owner);
        let mut batch = Batch::with_random_id(self.store.world());
        for (table, row) in [(LEASES, &held), (LEASE_ENDS, &end)] {
            match row {
                Some(row) => batch.require_version(table, name.as_bytes(), Version::of(row)),
                None => batch.require_absent(table, name.as_bytes()),
            };
        }
        batch.put_unchecked(LEASES, name.as_bytes(), &lease.row);
        batch.put_unchecked(LEASE_ENDS, name.as_bytes(), &end_row(lease.fence, now.saturating_add(millis(ttl))));
        match self.store.commit(batch).await {
            Outcome::Committed(_) => Ok(Some(lease)),
            Outcome::Conflict(_) => Ok(None),
            Outcome::Unknown(error) => Err(error),
        }
    }

    /// Lets a lease hold for `ttl` from now on. `false` if another owner has it.
    ///
    /// # Errors
    ///
    /// [`StorageError`] if it cannot be known.
    pub async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<bool, StorageError> {
        self.set_end(lease, self.store.world().now().millis().saturating_add(millis(ttl))).await
    }

    /// Gives a lease back, so that others need not wait until it runs out. Nothing happens if another owner has it.
    ///
    /// # Errors
    ///
    /// [`StorageError`] if it cannot be known.
    pub async fn release(&self, lease: &Lease) -> Result<(), StorageError> {
        self.set_end(lease, 0).await.map(|_| ())
    }

    async fn set_end(&self, lease: &Lease, millis: u64) -> Result<bool, StorageError> {
        let mut batch = Batch::with_random_id(self.store.world());
        batch.require(&lease.precondition());
        batch.put_unchecked(LEASE_ENDS, lease.name.as_bytes(), &end_row(lease.fence, millis));
        match self.store.commit(batch).await {
            Outcome::Committed(_) => Ok(true),
            Outcome::Conflict(_) => Ok(false),
            Outcome::Unknown(error) => Err(error),
        }
    }
}

impl Lease {
    fn new(name: &str, fence: u64, owner: &str) -> Self {
        let mut row = fence.to_be_bytes().to_vec();
        row.extend_from_slice(owner.as_bytes());
        Self { name: name.to_owned(), fence, row }
    }

    /// Holds as long as nobody else has acquired the lease: for [`Batch::require`].
    pub fn precondition(&self) -> Precondition {
        Precondition::version(LEASES, self.name.as_bytes(), Version::of(&self.row))
    }
}

fn read_row(row: &[u8]) -> Result<(u64, &[u8]), StorageError> {
    row.split_first_chunk()
        .map(|(fence, owner)| (u64::from_be_bytes(*fence), owner))
        .ok_or_else(|| StorageError::Malformed("a lease's row is too short".to_owned()))
}

fn end_row(fence: u64, millis: u64) -> [u8; 16] {
    (u128::from(fence) << 64 | u128::from(millis)).to_be_bytes()
}

fn read_end(row: &[u8]) -> Result<u64, StorageError> {
    row.last_chunk()
        .map(|millis| u64::from_be_bytes(*millis))
        .ok_or_else(|| StorageError::Malformed("the row with a lease's end is too short".to_owned()))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
