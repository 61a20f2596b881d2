//! The two orders of events of room version 2 ("Definitions").

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use super::{ResolveError, Room, graph::Graph};
use crate::{
    auth::{PowerLevel, PowerLevels},
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
};

/// The *reverse topological power ordering* of `events`, from earliest to latest: each after those it cites, and where that
/// leaves a choice by power of the sender, time, and id.
pub(super) fn by_power<R: Room>(
    graph: &mut Graph<'_, R>,
    events: &BTreeSet<EventKey>,
) -> Result<Vec<EventKey>, ResolveError<R::Failure>> {
    // Which of the events each one waits for, and which wait for it.
    let mut waits_for: BTreeMap<EventKey, usize> = BTreeMap::new();
    let mut awaited_by: BTreeMap<EventKey, Vec<EventKey>> = BTreeMap::new();
    for key in events {
        let cited: BTreeSet<EventKey> =
            graph.links(*key)?.auth_events.iter().filter(|cited| events.contains(cited)).copied().collect();
        waits_for.insert(*key, cited.len());
        for earlier in cited {
            awaited_by.entry(earlier).or_default().push(*key);
        }
    }

    // Kahn's algorithm.
    let mut ready = BinaryHeap::new();
    for (key, _) in waits_for.iter().filter(|(_, waiting)| **waiting == 0) {
        ready.push(Reverse(power_rank(graph, *key)?));
    }
    let mut sorted = Vec::with_capacity(events.len());
    while let Some(Reverse(PowerRank { key, .. })) = ready.pop() {
        sorted.push(key);
        for later in awaited_by.get(&key).into_iter().flatten() {
            if let Some(waiting) = waits_for.get_mut(later) {
                *waiting -= 1;
                if *waiting == 0 {
                    ready.push(Reverse(power_rank(graph, *later)?));
                }
            }
        }
    }
    Ok(sorted)
}

/// Where an event stands among those that could come next: the smallest comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct PowerRank {
    power: Reverse<PowerLevel>,
    origin_server_ts: i64,
    event_id: String,
    key: EventKey,
}

fn power_rank<R: Room>(graph: &mut Graph<'_, R>, key: EventKey) -> Result<PowerRank, ResolveError<R::Failure>> {
    let event = graph.event(key)?;
    Ok(PowerRank {
        power: Reverse(sender_power(graph, &event)?),
        origin_server_ts: event.origin_server_ts(),
        event_id: event.event_id().to_owned(),
        key,
    })
}

/// The power of an event's sender by the event's own auth events; 0 where they do not tell (M3.7).
fn sender_power<R: Room>(graph: &mut Graph<'_, R>, event: &Pdu) -> Result<PowerLevel, ResolveError<R::Failure>> {
    let nobody = PowerLevel::Finite(0);
    let create = graph.create_of(event)?;
    let power_levels = graph.auth_event_of(event.key(), "m.room.power_levels", "")?;
    let levels = match &create {
        Some(create) => PowerLevels::new(create, power_levels.as_ref()),
        None => PowerLevels::without_create(power_levels.as_ref()),
    };
    Ok(levels.user(event.sender()).unwrap_or(nobody))
}

/// The *mainline ordering* of `events` based on the `m.room.power_levels` event `power_levels`, from earliest to latest.
pub(super) fn by_mainline<R: Room>(
    graph: &mut Graph<'_, R>,
    events: &BTreeSet<EventKey>,
    power_levels: Option<EventKey>,
) -> Result<Vec<EventKey>, ResolveError<R::Failure>> {
    let mut mainline = Mainline { positions: BTreeMap::new(), length: 0, next: power_levels };
    let mut sorted = Vec::with_capacity(events.len());
    for key in events {
        let position = mainline.position(graph, *key)?;
        let event = graph.event(*key)?;
        sorted.push((Reverse(position), event.origin_server_ts(), event.event_id().to_owned(), *key));
    }
    sorted.sort();
    Ok(sorted.into_iter().map(|(.., key)| key).collect())
}

/// The mainline, as far as it has been needed.
struct Mainline {
    /// The positions of its events, and of power levels events beside it.
    positions: BTreeMap<EventKey, usize>,
    /// How many of its events have been read.
    length: usize,
    /// The next one.
    next: Option<EventKey>,
}

impl Mainline {
    /// The *mainline position* of an event: that of the power levels event that it cites, or of the nearest before that which
    /// is on the mainline; `usize::MAX`, the ∞ of the definition, if none is.
    fn position<R: Room>(
        &mut self,
        graph: &mut Graph<'_, R>,
        event: EventKey,
    ) -> Result<usize, ResolveError<R::Failure>> {
        let mut passed = BTreeSet::new();
        let mut at = power_levels_of(graph, event)?;
        let position = loop {
            let Some(cited) = at else { break usize::MAX };
            self.read_to(graph, cited)?;
            if let Some(position) = self.positions.get(&cited) {
                break *position;
            }
            if !passed.insert(cited) {
                break usize::MAX;
            }
            at = power_levels_of(graph, cited)?;
        };
        self.positions.extend(passed.into_iter().map(|cited| (cited, position)));
        Ok(position)
    }

    /// Reads on to where an event would be on the mainline: generations only fall along it. Where they are not known, as
    /// where events may form circles, it is read whole.
    fn read_to<R: Room>(&mut self, graph: &mut Graph<'_, R>, event: EventKey) -> Result<(), ResolveError<R::Failure>> {
        let wanted = graph.links(event)?.generation;
        while let Some(at) = self.next {
            if let (Some(here), Some(wanted)) = (graph.links(at)?.generation, wanted)
                && here < wanted
            {
                break;
            }
            // In a circle the mainline ends where it would begin anew.
            self.next = if self.positions.contains_key(&at) { None } else { power_levels_of(graph, at)? };
            self.positions.entry(at).or_insert(self.length);
            self.length += 1;
        }
        Ok(())
    }
}

/// The `m.room.power_levels` event that an event cites.
fn power_levels_of<R: Room>(
    graph: &mut Graph<'_, R>,
    key: EventKey,
) -> Result<Option<EventKey>, ResolveError<R::Failure>> {
    graph.cited_for(key, StateKeyId::of("m.room.power_levels", ""))
}
