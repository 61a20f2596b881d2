//! Marking: which of a room's nodes its states refer to.

use super::damaged;
use super::purge::{self, Cut};
use crate::error::{Error, Result};
use crate::rooms::head::Head;
use crate::rooms::reader::room_key;
use crate::rooms::standing::Standing;
use crate::tables;
use state_res::ids::{EventKey, RoomKey};
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
    /// Events that states in use name; empty if nothing is purged.
    pub(super) events: HashSet<EventKey>,
}

/// What the room's states refer to.
struct Live {
    nodes: HashSet<NodeHash>,
    /// Collected only for a purge.
    events: Option<HashSet<EventKey>>,
}

/// The nodes that nothing refers to. Condemned events' states do not count as used.
pub(super) fn unreached(snapshot: &Snapshot, room: RoomKey, cut: Option<&Cut>) -> Result<Vec<NodeHash>> {
    let live = mark(snapshot, room, cut)?;
    let mut nodes = nodes(snapshot, tables::NODES, room)?;
    nodes.retain(|hash| !live.nodes.contains(hash));
    Ok(nodes)
}

/// The nodes on the list.
pub(super) fn list(snapshot: &Snapshot, room: RoomKey) -> Result<Vec<NodeHash>> {
    nodes(snapshot, tables::CONDEMNED, room)
}

/// The nodes on the list, by whether something refers to them.
pub(super) fn listed(snapshot: &Snapshot, room: RoomKey, cut: Option<&Cut>) -> Result<Listed> {
    let live = mark(snapshot, room, cut)?;
    let (reached, unreached) = list(snapshot, room)?.into_iter().partition(|hash| live.nodes.contains(hash));
    Ok(Listed { reached, unreached, kept: live.nodes.len() as u64, events: live.events.unwrap_or_default() })
}

fn nodes(snapshot: &Snapshot, table: Table, room: RoomKey) -> Result<Vec<NodeHash>> {
    Ok(names(snapshot, table, room)?.into_iter().map(NodeHash::from_bytes).collect())
}

/// What the keys of a table name behind the room, in their order.
pub(super) fn names(snapshot: &Snapshot, table: Table, room: RoomKey) -> Result<Vec<[u8; 16]>> {
    let mut found = Vec::new();
    let mut rows = snapshot.scan_prefix(table, room.as_bytes());
    while let Some(name) = rows.next_with(|key, _| key.get(16..).and_then(|hash| hash.try_into().ok())) {
        found.push(name?.ok_or_else(|| damaged(table))?);
    }
    Ok(found)
}

/// All that the room's states refer to, but for those of condemned events and those that were current before a cut.
fn mark(snapshot: &Snapshot, room: RoomKey, cut: Option<&Cut>) -> Result<Live> {
    let mut live = Live { nodes: HashSet::new(), events: cut.map(|_| HashSet::new()) };
    let (mut condemned, mut first) = (HashSet::new(), Vec::new());
    if let Some(cut) = cut {
        condemned = purge::condemned(snapshot, room)?;
        first = purge::last_root_before(snapshot, room, cut)?.unwrap_or_default();
    }
    let mut reach = |root: Root| below(snapshot, room, root, &mut live);
    if let Some(row) = snapshot.get(tables::HEAD, room.as_bytes())? {
        let head = Head::decode(&row).ok_or_else(|| damaged(tables::HEAD))?;
        reach(head.root)?;
        for extremity in &head.extremities {
            reach(extremity.after)?;
        }
    }
    let mut roots = snapshot.scan_prefix(tables::ROOTS, room.as_bytes());
    while let Some(row) = roots.next_with(|key, value| (key >= &first[..]).then(|| value.try_into().ok())) {
        if let Some(root) = row? {
            reach(Root::from_bytes(root.ok_or_else(|| damaged(tables::ROOTS))?))?;
        }
    }
    let mut standings = snapshot.scan_prefix(tables::STANDING, room.as_bytes());
    let read = |key: &[u8], value: &[u8]| {
        let event = EventKey::from_bytes(key.get(16..)?.try_into().ok()?);
        Some((event, Standing::decode(value)?))
    };
    while let Some(row) = standings.next_with(read) {
        let (event, standing) = row?.ok_or_else(|| damaged(tables::STANDING))?;
        if !condemned.contains(&event) {
            reach(standing.before)?;
            reach(standing.after)?;
        }
    }
    Ok(live)
}

fn below(snapshot: &Snapshot, room: RoomKey, root: Root, live: &mut Live) -> Result<()> {
    let mut open: Vec<NodeHash> = root.node().into_iter().collect();
    while let Some(hash) = open.pop() {
        if !live.nodes.insert(hash) {
            continue;
        }
        // A node that is not there is damage: what it referred to is unknown, so nothing may be called litter.
        snapshot.get_with(tables::NODES, &room_key(room, hash.as_bytes()), |bytes| -> Result<()> {
            let bytes = bytes.ok_or(TreeError::<Error>::Missing(hash))?;
            let corrupt = |_| TreeError::<Error>::Corrupt(hash);
            open.extend(state_res::tree::children(bytes).map_err(corrupt)?);
            if let Some(events) = &mut live.events {
                events.extend(state_res::tree::events(bytes).map_err(corrupt)?);
            }
            Ok(())
        })??;
    }
    Ok(())
}
