//! Our own signing keys: made at the first start, kept in the store for good.

use crate::{Error, Result, tables};
use federation::keys::{OldKey, OwnKeys};
use net::{Timestamp, World};
use state_res::sign::SigningKey;
use storage::{Batch, Outcome, Snapshot, Store};

/// Bytes of a seed; the value of a row is a seed and 8 bytes (big-endian) of the time at which the key went out of use, 0 while
/// it is in use.
const SEED_BYTES: usize = 32;

/// The keys of `server_name`; a first one is made durable if there is none.
///
/// # Errors
///
/// A failing store, or a row that cannot be read.
pub async fn own_keys(store: &Store, world: &World, server_name: &str) -> Result<OwnKeys> {
    if let Some(keys) = stored(&store.snapshot(), server_name)? {
        return Ok(keys);
    }
    let random = world.random_bytes::<4>();
    // Other keys of this name may have signed for it before, in a data directory that is lost: theirs must not be taken for ours.
    let version = format!("a_{:08x}", u32::from_be_bytes(random));
    let seed = world.random_bytes::<SEED_BYTES>();
    let key = SigningKey::from_seed(&version, seed).map_err(Error::internal)?;
    let mut value = seed.to_vec();
    value.extend_from_slice(&0u64.to_be_bytes());
    let mut batch = Batch::with_random_id(world);
    batch.require_absent(tables::SIGNING_KEYS, key.key_id().as_bytes());
    batch.put(tables::SIGNING_KEYS, key.key_id().as_bytes(), &value);
    match store.commit(batch).await {
        Outcome::Committed(_) => Ok(OwnKeys { server_name: server_name.to_owned(), current: key, old: Vec::new() }),
        Outcome::Conflict(_) => Err(Error::internal("another process made a signing key at the same time")),
        Outcome::Unknown(cause) => Err(cause.into()),
    }
}

/// The keys in the store; nothing if none is in use.
fn stored(snapshot: &Snapshot, server_name: &str) -> Result<Option<OwnKeys>> {
    let mut current = None;
    let mut old = Vec::new();
    for row in snapshot.scan_prefix(tables::SIGNING_KEYS, &[]) {
        let (id, value) = row?;
        let (key, expired_at) = decode(&id, &value).ok_or_else(|| {
            Error::internal("a row of table SIGNING_KEYS cannot be read: the data directory is damaged")
        })?;
        if expired_at == 0 {
            current = Some(key);
        } else {
            old.push(OldKey {
                key_id: key.key_id().to_owned(),
                key: key.verify_key(),
                expired_at: Timestamp::from_millis(expired_at),
            });
        }
    }
    Ok(current.map(|current| OwnKeys { server_name: server_name.to_owned(), current, old }))
}

fn decode(id: &[u8], value: &[u8]) -> Option<(SigningKey, u64)> {
    let version = std::str::from_utf8(id).ok()?.strip_prefix("ed25519:")?;
    let (seed, expired_at) = value.split_first_chunk::<SEED_BYTES>()?;
    let key = SigningKey::from_seed(version, *seed).ok()?;
    Some((key, u64::from_be_bytes(expired_at.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use net::simulated::Simulation;
    use storage::Faults;

    #[test]
    fn the_first_key_is_kept() {
        let simulation = Simulation::new(7);
        let world = simulation.host("one").world();
        let run = simulation.run(async move {
            let store = Store::open_memory(&tables::SCHEMA, world.clone(), Faults::none());
            let first = own_keys(&store, &world, "one.example").await.unwrap();
            let again = own_keys(&store, &world, "one.example").await.unwrap();
            assert_eq!(first.current.to_text(), again.current.to_text());
            assert!(again.old.is_empty());
        });
        run.unwrap();
    }
}
