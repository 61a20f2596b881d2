//! Opening: what the store knows about itself, checked and made ready for writing.

use net::World;

use crate::{
    BatchId, Options, Position, Schema, Snapshot, StorageError,
    commit::{Committer, Recovered},
    engine::Engine,
    key, limits,
    log::{TRIMMED, read_entry},
    remembered::{Decided, Remembered, recent},
    schema::{CONFLICTS, LOG, META, Tables},
    snapshot::{read_position, stored_key},
    store::Shared,
};

/// Names of what the store knows about itself.
pub(crate) const POSITION: &[u8] = b"position";
pub(crate) const SCHEMA_VERSION: &[u8] = b"schema_version";
const INCARNATION: &[u8] = b"incarnation";
/// Under which start of the machine the store was last opened.
const BOOT: &[u8] = b"boot";
/// Present if the store was closed with everything synced.
pub(crate) const CLEAN: &[u8] = b"clean";

/// What was found when opening.
pub(crate) struct Opened {
    pub(crate) incarnation: u64,
    pub(crate) stored_schema: u32,
}

/// Reads what the store knows about itself, and prepares it for writing.
pub(crate) fn recover(
    engine: Engine,
    tables: Tables,
    schema: &Schema,
    world: World,
    options: &Options,
) -> Result<(Committer, Opened), StorageError> {
    let snapshot = Snapshot::new(0, engine.snapshot());
    let read = |name: &[u8]| snapshot.get(META, name);
    let stored_schema = match read(SCHEMA_VERSION)? {
        Some(value) => read_u32(&value)?,
        None => schema.version,
    };
    if stored_schema > schema.version {
        return Err(StorageError::NewerSchema { stored: stored_schema, known: schema.version });
    }
    if stored_schema < schema.oldest {
        return Err(StorageError::OlderSchema { stored: stored_schema, oldest: schema.oldest });
    }
    let read_number = |name: &[u8]| read(name)?.map(|value| read_position(&value)).transpose();
    let mut position = read_number(POSITION)?.unwrap_or(0);
    let trimmed = read_number(TRIMMED)?.unwrap_or(0);
    let boot = engine.boot_id();
    let mut writes = engine.begin(256);
    let mut put = |name: &[u8], value: &[u8]| writes.put(META.access, &stored_key(META, name), value);

    let incarnation = match read_number(INCARNATION)? {
        Some(incarnation) if !options.restored => incarnation,
        _ => u64::from_be_bytes(world.random_bytes()),
    };
    put(INCARNATION, &incarnation.to_be_bytes());
    put(SCHEMA_VERSION, &stored_schema.to_be_bytes());
    let clean = read(CLEAN)?.is_some();
    let last_boot = read(BOOT)?;
    if let Some(last_boot) = last_boot
        && !clean
        && (last_boot != boot || boot.is_empty())
    {
        // The machine went down with the store open: positions that clients have seen may have been lost with the unsynced end
        // of the log. None of them is used again.
        position += limits::MAX_UNSYNCED_POSITIONS;
        put(POSITION, &position.to_be_bytes());
    }
    put(BOOT, &boot);
    writes.delete(META.access, &stored_key(META, CLEAN));
    engine.write(writes, true)?;

    let (remembered, conflicts) = read_remembered(&snapshot, position)?;
    drop(snapshot);
    let published = Snapshot::new(position, engine.snapshot());
    let shared = Shared::new(engine, tables, published);
    let committer = Committer::new(shared, world, options, Recovered { position, trimmed, remembered, conflicts });
    Ok((committer, Opened { incarnation, stored_schema }))
}

/// The ids of the last positions and what they were answered.
fn read_remembered(snapshot: &Snapshot, position: Position) -> Result<(Remembered, u64), StorageError> {
    let mut next_conflict = 0;
    let first = position.saturating_sub(limits::REMEMBERED_POSITIONS).to_be_bytes();
    let mut conflicts = snapshot.scan::<&[u8]>(CONFLICTS, &first..&[]).peekable();
    let mut remembered = Remembered::default();
    let mut conflicts_before = |position: Position, remembered: &mut Remembered| -> Result<(), StorageError> {
        while let Some(row) = conflicts.next_if(|row| match row {
            Ok((key, _)) => key.first_chunk().is_none_or(|first| u64::from_be_bytes(*first) < position),
            Err(_) => true,
        }) {
            let (key, conflict) = row?;
            let (position, number) = read_conflict_key(&key)?;
            let id = conflict.first_chunk().ok_or_else(|| malformed("the row of a conflict is too short"))?;
            let decided = Decided { position, conflict: Some(conflict.slice(id.len()..)) };
            remembered.insert(BatchId(*id), decided);
            next_conflict = number + 1;
        }
        Ok(())
    };
    let mut rows = snapshot.scan::<&[u8]>(LOG, &first..&[]);
    while let Some(entry) = rows.next_with(read_entry) {
        let entry = entry??;
        conflicts_before(entry.position, &mut remembered)?;
        debug_assert!(recent(entry.position, position));
        remembered.insert(entry.batch, Decided { position: entry.position, conflict: None });
    }
    conflicts_before(Position::MAX, &mut remembered)?;
    Ok((remembered, next_conflict))
}

fn read_conflict_key(key: &[u8]) -> Result<(Position, u64), StorageError> {
    let mut key = key::Reader::new(key);
    Ok((key.u64()?, key.u64()?))
}

fn malformed(what: &str) -> StorageError {
    StorageError::Malformed(what.to_owned())
}

fn read_u32(value: &[u8]) -> Result<u32, StorageError> {
    value
        .try_into()
        .map(u32::from_be_bytes)
        .map_err(|_| malformed("the stored schema version is not a number of 4 bytes"))
}
