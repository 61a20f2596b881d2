//! What a writer owes to a sweep: naming its epoch, and sparing what it needs of what is condemned.

use super::purge::{CLAIMED, GOES, STAYS};
use super::{Epoch, STEP, in_the_way};
use crate::error::{Error, Result};
use crate::rooms::reader::{RoomReader, room_key};
use crate::tables;
use state_res::ids::EventKey;
use state_res::pdu::Pdu;
use state_res::tree::{NodeHash, Nodes as _, Root, TreeError};
use std::collections::HashSet;
use storage::{Batch, Version};

/// Of the nodes of a whole state, those that have to be written: those that are not there, and those on the list of the condemned, which the
/// batch takes off it.
///
/// The others stay at least as long as the epoch to which the batch has to be bound. As it is asked of each node of the state, it does not matter
/// that a node may be there without those below it, where something that was made in several batches broke off.
pub(crate) fn absent(
    reader: &RoomReader,
    nodes: Vec<(NodeHash, Vec<u8>)>,
    batch: &mut Batch,
) -> Result<Vec<(NodeHash, Vec<u8>)>> {
    let is_condemned = Epoch::read(&reader.snapshot, reader.room)?.is_condemned();
    let mut absent = Vec::new();
    for (hash, bytes) in nodes {
        let key = room_key(reader.room, hash.as_bytes());
        let is_listed = is_condemned && reader.snapshot.contains(tables::CONDEMNED, &key)?;
        if is_listed {
            batch.delete(tables::CONDEMNED, &key);
        }
        if is_listed || !reader.snapshot.contains(tables::NODES, &key)? {
            absent.push((hash, bytes));
        }
    }
    Ok(absent)
}

/// Binds a batch that refers to `roots` to the room's sweep epoch. While nodes are condemned, it also puts those below the
/// roots again, and takes them off the list. `given` are the events of whole states among them.
///
/// Only nodes on the list and those that this writer makes are followed; why that is enough is said in [`super`].
pub(in crate::rooms) fn guard(
    reader: &RoomReader,
    roots: impl IntoIterator<Item = Root>,
    given: Vec<EventKey>,
    batch: &mut Batch,
) -> Result<()> {
    if !bind(reader, batch)? {
        return Ok(());
    }
    let mut seen: HashSet<NodeHash> = HashSet::new();
    let mut spared = 0;
    let mut named = given;
    let mut open: Vec<NodeHash> = roots.into_iter().filter_map(Root::node).collect();
    while let Some(hash) = open.pop() {
        if !seen.insert(hash) {
            continue;
        }
        let key = room_key(reader.room, hash.as_bytes());
        let condemned = reader.snapshot.contains(tables::CONDEMNED, &key)?;
        let new = reader.new_nodes.contains_key(&hash);
        if !condemned && !new {
            continue;
        }
        let bytes = reader.node(&hash)?.ok_or(TreeError::<Error>::Missing(hash))?;
        let corrupt = |_| TreeError::<Error>::Corrupt(hash);
        open.extend(state_res::tree::children(&bytes).map_err(corrupt)?);
        named.extend(state_res::tree::events(&bytes).map_err(corrupt)?);
        if condemned {
            batch.delete(tables::CONDEMNED, &key);
        }
        if condemned && !new {
            batch.put(tables::NODES, &key, &bytes);
            spared += key.len() + bytes.len();
            if spared > STEP {
                // A whole state that went out of use a moment ago. The sweep takes it off the list by itself, or ends.
                return Err(in_the_way());
            }
        }
    }
    for pdu in reader.new_events.values() {
        for prev in pdu.prev_events() {
            if reader
                .snapshot
                .contains(tables::CONDEMNED_EVENTS, &room_key(reader.room, EventKey::of(prev).as_bytes()))?
            {
                // What it follows is being purged.
                batch.put(tables::GAPS, &room_key(reader.room, pdu.key().as_bytes()), b"");
            }
        }
    }
    spare_events(reader, named.into_iter().chain(reader.new_events.values().flat_map(cited)), batch)
}

/// Binds a batch with outliers to the room's sweep epoch, and keeps what they cite.
pub(crate) fn guard_outliers<'a>(
    reader: &RoomReader,
    outliers: impl IntoIterator<Item = &'a Pdu>,
    batch: &mut Batch,
) -> Result<()> {
    if !bind(reader, batch)? {
        return Ok(());
    }
    let outliers: Vec<&Pdu> = outliers.into_iter().collect();
    let together: HashSet<EventKey> = outliers.iter().map(|pdu| pdu.key()).collect();
    let others = outliers.into_iter().flat_map(cited).filter(|event| !together.contains(event));
    spare_events(reader, others, batch)
}

/// Binds a batch to the room's sweep epoch; gives whether something is condemned in it.
fn bind(reader: &RoomReader, batch: &mut Batch) -> Result<bool> {
    let epoch = Epoch::read(&reader.snapshot, reader.room)?;
    epoch.require(batch);
    if epoch.is_removing() { Err(in_the_way()) } else { Ok(epoch.is_condemned()) }
}

fn cited(pdu: &Pdu) -> impl Iterator<Item = EventKey> {
    pdu.auth_events().iter().map(|id| EventKey::of(id))
}

/// Makes sure that events are there, and says of condemned ones, and of their auth chains, that their bytes have to stay.
fn spare_events(reader: &RoomReader, events: impl Iterator<Item = EventKey>, batch: &mut Batch) -> Result<()> {
    let mut open: Vec<EventKey> = events.collect();
    let mut seen = HashSet::new();
    while let Some(event) = open.pop() {
        if !seen.insert(event) {
            continue;
        }
        if !reader.new_events.contains_key(&event) && !reader.snapshot.contains(tables::PDUS, event.as_bytes())? {
            // The writer found it in a cache, or in the state of an event that goes next.
            return Err(in_the_way());
        }
        let row = room_key(reader.room, event.as_bytes());
        match reader.snapshot.get(tables::CONDEMNED_EVENTS, &row)?.as_deref() {
            Some(GOES) => {
                // Unlike nodes, it is not written again: it has to be there still when the batch is committed.
                batch.require_version(tables::CONDEMNED_EVENTS, &row, Version::of(GOES));
                batch.put(tables::CONDEMNED_EVENTS, &row, STAYS);
                open.extend(reader.pdu(event)?.iter().flat_map(cited));
            }
            Some(CLAIMED) => return Err(in_the_way()),
            _ => {}
        }
    }
    Ok(())
}
