//! Marking: which of a room's nodes its states refer to.

use crate::error::{Error, Result};
use crate::rooms::head::Head;
use crate::rooms::reader::room_key;
use crate::rooms::standing::Standing;
use crate::tables;
use state_res::ids::RoomKey;
use state_res::tree::{NodeHash, Root, TreeError};
use std::collections::HashSet;
use storage::{Snapshot, Table};

/// What was found of the nodes on the list.
pub(super) struct Listed {
    /// Those that are referred to, after all.
    pub(super) reached: Vec<NodeHash>,
    /// Those that are not.
    pub(super) unreached: Vec<NodeHash>,
    /// Nodes referred to, on the list or not.
    pub(super) kept: u64,
}

/// The nodes that nothing refers to.
pub(super) fn unreached(snapshot: &Snapshot, room: RoomKey) -> Result<Vec<NodeHash>> {
    let live = mark(snapshot, room)?;
    let mut nodes = names(snapshot, tables::NODES, room)?;
    nodes.retain(|hash| !live.contains(hash));
    Ok(nodes)
}

/// The nodes on the list.
pub(super) fn list(snapshot: &Snapshot, room: RoomKey) -> Result<Vec<NodeHash>> {
    names(snapshot, tables::CONDEMNED, room)
}

/// The nodes on the list, by whether something refers to them.
pub(super) fn listed(snapshot: &Snapshot, room: RoomKey) -> Result<Listed> {
    let live = mark(snapshot, room)?;
    let (reached, unreached) = list(snapshot, room)?.into_iter().partition(|hash| live.contains(hash));
    Ok(Listed { reached, unreached, kept: live.len() as u64 })
}

/// The nodes named by the keys of a table, in their order.
fn names(snapshot: &Snapshot, table: Table, room: RoomKey) -> Result<Vec<NodeHash>> {
    let mut found = Vec::new();
    let mut rows = snapshot.scan_prefix(table, room.as_bytes());
    while let Some(name) = rows.next_with(|key, _| key.get(16..).and_then(|hash| hash.try_into().ok())) {
        found.push(NodeHash::from_bytes(name?.ok_or_else(|| damaged(table))?));
    }
    Ok(found)
}

fn damaged(table: Table) -> Error {
    Error::internal(format!("a row of table {} cannot be read: the data directory is damaged", table.name))
}

/// All nodes that the room's states refer to.
fn mark(snapshot: &Snapshot, room: RoomKey) -> Result<HashSet<NodeHash>> {
    let mut live = HashSet::new();
    let mut reach = |root: Root| below(snapshot, room, root, &mut live);
    if let Some(row) = snapshot.get(tables::HEAD, room.as_bytes())? {
        let head = Head::decode(&row).ok_or_else(|| damaged(tables::HEAD))?;
        reach(head.root)?;
        for extremity in &head.extremities {
            reach(extremity.after)?;
        }
    }
    let mut roots = snapshot.scan_prefix(tables::ROOTS, room.as_bytes());
    while let Some(root) = roots.next_with(|_, value| value.try_into().ok()) {
        reach(Root::from_bytes(root?.ok_or_else(|| damaged(tables::ROOTS))?))?;
    }
    let mut standings = snapshot.scan_prefix(tables::STANDING, room.as_bytes());
    while let Some(standing) = standings.next_with(|_, value| Standing::decode(value)) {
        let standing = standing?.ok_or_else(|| damaged(tables::STANDING))?;
        reach(standing.before)?;
        reach(standing.after)?;
    }
    Ok(live)
}

fn below(snapshot: &Snapshot, room: RoomKey, root: Root, live: &mut HashSet<NodeHash>) -> Result<()> {
    let mut open: Vec<NodeHash> = root.node().into_iter().collect();
    while let Some(hash) = open.pop() {
        if !live.insert(hash) {
            continue;
        }
        // A node that is not there is damage: what it referred to is unknown, so nothing may be called litter.
        snapshot.get_with(tables::NODES, &room_key(room, hash.as_bytes()), |bytes| -> Result<()> {
            let bytes = bytes.ok_or(TreeError::<Error>::Missing(hash))?;
            open.extend(state_res::tree::children(bytes).map_err(|_| TreeError::<Error>::Corrupt(hash))?);
            Ok(())
        })??;
    }
    Ok(())
}
