//! State resolution: one state out of several.
//!
//! Where a room's history forks, each branch has its own state. [`resolve`] merges them as the room's version says:
//! version 1 in its own way, 2 to 11 by the second algorithm ("State resolution" of room version 2), 12 by the second
//! algorithm as version 12 changes it. The result depends on nothing but the states and the events.
//!
//! States are roots of [`tree`](crate::tree)s; what differs between them is found without walking what does not. Events
//! are fetched when they are needed. A failure to fetch aborts the resolution, for a state resolved without an event that
//! exists is a wrong state; so does an event that is not there, since whoever accepts an event has its auth events.
//!
//! What a resolution costs grows with what the states differ in and not with the room, if the store has an index of the graph of
//! auth events, which [`Events::links`] and [`Events::citing`] read: what each state event cites, and what cites it. See
//! `auth_difference` and `between` for the two searches that need it. Without it the result is the same.
//!
//! Nothing here recurses, and every walk remembers where it has been, so neither the length of an auth chain nor a cycle
//! in it (room versions 1 and 2 let senders choose event ids) can do harm.
//!
//! # Where the specification leaves a choice
//!
//! - Version 1 does not say in which order conflicts of one type are resolved. Here each is resolved against the outcome
//!   of the passes before, and the outcomes of one pass count from the next pass on, so that no order shows.
//! - The auth chain of a power event, of which what is in the full conflicted set joins it in the first step, is all of it,
//!   as defined: also where it leads there through events that are not in the full conflicted set. (Walking
//!   the chain inside that set only would differ in rare rooms of versions 2 to 11. In version 12 the conflicted state
//!   subgraph has what that would miss.)
//! - The "DAG formed by auth events" by which power events are ordered is read as having the events being ordered for
//!   vertices, and for edges the `auth_events` links between them: the definition is of an ordering "of a set of events",
//!   and Kahn's algorithm, by which it says to find it, has vertices of that set only. So a way from one of them to another
//!   that leads around through events outside the set puts neither first.
//! - A sender's power that cannot be read from an event's auth events counts as 0 in ordering it.
//! - Events of a cycle among the power events have no topological order; they are left out.

use std::fmt;

use crate::{
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
    room_version::{RoomVersion, StateResolution},
    tree::{NewNodes, Nodes, Root, TreeError},
};

mod above;
mod auth_difference;
mod between;
mod checks;
mod conflicts;
mod graph;
mod links;
mod order;
mod states;
mod v1;
mod v2;

use self::{conflicts::Conflicts, graph::Graph};
pub use self::{
    links::{Around, Citing, Links},
    v2::Sets,
};

/// What to change in the first of the states to get the resolution: for each key its event, or none.
type Changes = Vec<(StateKeyId, Option<EventKey>)>;

/// Where events are read from: one room's accepted events, outliers included.
pub trait Events {
    /// Why reading failed (not: that there is no such event).
    type Error;

    /// The event of this key, `None` if there is none.
    ///
    /// # Errors
    /// Whatever kept the store from answering.
    fn event(&self, key: EventKey) -> Result<Option<Pdu>, Self::Error>;

    /// Whether the event was rejected under the checks on receipt of a PDU (soft failure is not rejection). Asked only for
    /// events that there are.
    ///
    /// # Errors
    /// Whatever kept the store from answering.
    fn is_rejected(&self, key: EventKey) -> Result<bool, Self::Error>;

    /// The place of the event of this key in the graph, `None` if there is no such event. A store that knows without reading
    /// the event says so here.
    ///
    /// # Errors
    /// Whatever kept the store from answering.
    fn links(&self, key: EventKey) -> Result<Option<Links>, Self::Error> {
        Ok(self.event(key)?.as_ref().map(Links::of))
    }

    /// [`Events::links`] of an event that has been read, if the event itself says all but the generation ([`Links::of`]); that is then found
    /// from those of its auth events, and a look into the store is saved. `None` where [`Events::links`] has to be asked.
    fn links_said(&self, event: &Pdu) -> Option<Links> {
        let _ = event;
        None
    }

    /// State events that name the event of this key in their `auth_events`, by ascending key: the first `limit`, or, where
    /// `after` is given, the first `limit` of those with greater keys. Of the events that are there none may be left out,
    /// rejected ones included; fewer than `limit` are the last. `None` if the store keeps no such index: then
    /// [`resolve`] walks whole chains, at a cost that grows with the room.
    ///
    /// # Errors
    /// Whatever kept the store from answering.
    fn citing(&self, key: EventKey, after: Option<EventKey>, limit: usize) -> Result<Option<Vec<Citing>>, Self::Error> {
        let _ = (key, after, limit);
        Ok(None)
    }

    /// [`Events::event`] of several, in their order. Here and in the next, a store that reads many rows at once for less
    /// says so.
    ///
    /// # Errors
    /// Whatever kept the store from answering.
    fn events(&self, keys: &[EventKey]) -> Result<Vec<Option<Pdu>>, Self::Error> {
        keys.iter().map(|key| self.event(*key)).collect()
    }

    /// [`Events::links`] of several and the first `limit` events that cite each, in their order.
    ///
    /// # Errors
    /// Whatever kept the store from answering.
    fn around(&self, keys: &[EventKey], limit: usize) -> Result<Vec<Around>, Self::Error> {
        keys.iter()
            .map(|key| Ok(Around { links: self.links(*key)?, citing: self.citing(*key, None, limit)? }))
            .collect()
    }
}

impl<E: Events + ?Sized> Events for &E {
    type Error = E::Error;

    fn event(&self, key: EventKey) -> Result<Option<Pdu>, Self::Error> {
        (**self).event(key)
    }

    fn is_rejected(&self, key: EventKey) -> Result<bool, Self::Error> {
        (**self).is_rejected(key)
    }

    fn links(&self, key: EventKey) -> Result<Option<Links>, Self::Error> {
        (**self).links(key)
    }

    fn links_said(&self, event: &Pdu) -> Option<Links> {
        (**self).links_said(event)
    }

    fn citing(&self, key: EventKey, after: Option<EventKey>, limit: usize) -> Result<Option<Vec<Citing>>, Self::Error> {
        (**self).citing(key, after, limit)
    }

    fn events(&self, keys: &[EventKey]) -> Result<Vec<Option<Pdu>>, Self::Error> {
        (**self).events(keys)
    }

    fn around(&self, keys: &[EventKey], limit: usize) -> Result<Vec<Around>, Self::Error> {
        (**self).around(keys, limit)
    }
}

/// A room's state nodes and events. Anything that is both [`Nodes`] and [`Events`] and fails in one way is one.
pub trait Room: Nodes<Error = Self::Failure> + Events<Error = Self::Failure> {
    /// Why reading failed.
    type Failure;
}

impl<R, E> Room for R
where
    R: Nodes<Error = E> + Events<Error = E>,
{
    type Failure = E;
}

/// Why states could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveError<E> {
    /// A state could not be read.
    Tree(TreeError<E>),
    /// The store of events could not answer.
    Fetch(E),
    /// An event in a state, or in the auth chain of one, is not there.
    Missing(EventKey),
    /// An event that a state or an auth chain refers to is no state event.
    NotState(EventKey),
}

impl<E> From<TreeError<E>> for ResolveError<E> {
    fn from(error: TreeError<E>) -> Self {
        ResolveError::Tree(error)
    }
}

impl<E: fmt::Display> fmt::Display for ResolveError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::Tree(error) => error.fmt(f),
            ResolveError::Fetch(error) => write!(f, "an event could not be read: {error}"),
            ResolveError::Missing(key) => {
                write!(f, "an event of the room's state or its auth chain is missing: {key:?}")
            }
            ResolveError::NotState(key) => write!(f, "an event of the room's state is no state event: {key:?}"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for ResolveError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ResolveError::Tree(error) => Some(error),
            ResolveError::Fetch(error) => Some(error),
            ResolveError::Missing(_) | ResolveError::NotState(_) => None,
        }
    }
}

/// The resolution of the states `roots` of a room of this version, and the tree nodes it needs that the first of them did
/// not have. Of no states it is the empty state, of one that state.
///
/// # Errors
/// When a state or an event cannot be read or is not there.
pub fn resolve<R: Room>(
    version: RoomVersion,
    roots: &[Root],
    room: &R,
) -> Result<(Root, NewNodes), ResolveError<R::Failure>> {
    let Some(conflicts) = Conflicts::between(room, roots)? else {
        return Ok((roots.first().copied().unwrap_or(Root::EMPTY), Vec::new()));
    };
    let mut graph = Graph::new(room);
    let changes = match version.rules().state_resolution {
        StateResolution::V1 => v1::resolve(&conflicts, &mut graph)?,
        StateResolution::V2 => v2::resolve(v2::Algorithm::V2, &conflicts, &mut graph)?,
        StateResolution::V2_1 => v2::resolve(v2::Algorithm::V2_1, &conflicts, &mut graph)?,
    };
    Ok(crate::tree::update(room, conflicts.base(), &changes)?)
}

/// The sets that the algorithm of room versions 2 to 12 makes of these states on its way. `None` if the states do not differ, and
/// in room version 1, which has no such sets.
///
/// # Errors
/// When a state or an event cannot be read or is not there.
pub fn sets<R: Room>(version: RoomVersion, roots: &[Root], room: &R) -> Result<Option<Sets>, ResolveError<R::Failure>> {
    let algorithm = match version.rules().state_resolution {
        StateResolution::V1 => return Ok(None),
        StateResolution::V2 => v2::Algorithm::V2,
        StateResolution::V2_1 => v2::Algorithm::V2_1,
    };
    match Conflicts::between(room, roots)? {
        None => Ok(None),
        Some(conflicts) => Ok(Some(v2::sets(algorithm, &conflicts, &mut Graph::new(room))?)),
    }
}
