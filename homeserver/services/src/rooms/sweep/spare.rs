//! What a writer owes to a sweep: naming its epoch, and sparing what it needs of what is condemned.

use super::{Epoch, STEP};
use crate::error::{Error, Result};
use crate::rooms::reader::{RoomReader, room_key};
use crate::tables;
use state_res::tree::{NodeHash, Nodes as _, Root, TreeError};
use std::collections::HashSet;
use storage::Batch;

/// Binds a batch that refers to `roots` to the room's sweep epoch. While nodes are condemned, it also puts those below the
/// roots again, and takes them off the list.
///
/// Only nodes on the list and those that this writer makes are followed; why that is enough is said in [`super`].
pub(in crate::rooms) fn guard(
    reader: &RoomReader,
    roots: impl IntoIterator<Item = Root>,
    batch: &mut Batch,
) -> Result<()> {
    let epoch = Epoch::read(&reader.snapshot, reader.room)?;
    epoch.require(batch);
    if !epoch.is_condemned() {
        return Ok(());
    }
    let mut seen: HashSet<NodeHash> = HashSet::new();
    let mut spared = 0;
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
        open.extend(state_res::tree::children(&bytes).map_err(|_| TreeError::<Error>::Corrupt(hash))?);
        if condemned {
            batch.delete(tables::CONDEMNED, &key);
        }
        if condemned && !new {
            batch.put(tables::NODES, &key, &bytes);
            spared += key.len() + bytes.len();
            if spared > STEP {
                // A whole state that went out of use a moment ago. The sweep takes it off the list by itself, or ends.
                return Err(Error::new(503, "M_UNKNOWN", "The room's old states are being swept; try again.")
                    .with("retry_after_ms", 1000));
            }
        }
    }
    Ok(())
}
