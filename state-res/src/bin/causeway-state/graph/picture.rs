//! What is drawn of a room.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use state_res::{auth::Refusal, ids::EventKey};

use super::{AuthEdges, label};
use crate::{failure::Failure, room::Room};

/// What is drawn.
pub(super) struct Picture {
    pub(super) title: String,
    /// What is not as usual about the whole: what was left out, and why the resolution is not known.
    pub(super) notes: Vec<String>,
    pub(super) nodes: Vec<Node>,
    /// From an event to one before it, as indexes of nodes.
    pub(super) prev_edges: Vec<(usize, usize)>,
    /// All of them, drawn or not: they too tell what comes before what.
    pub(super) auth_order: Vec<(usize, usize)>,
    /// Those that are drawn.
    pub(super) auth_edges: Vec<(usize, usize)>,
    /// For each place in which the states differ a sentence.
    pub(super) conflicts: Vec<String>,
}

/// An event.
pub(super) struct Node {
    pub(super) lines: Vec<String>,
    /// Everything about it, for who wants to know.
    pub(super) details: String,
    pub(super) role: Role,
    pub(super) is_state: bool,
    pub(super) is_extremity: bool,
    pub(super) is_rejected: bool,
    /// The file does not have it; another event names it.
    pub(super) is_missing: bool,
}

/// What an event is to the resolution.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Role {
    /// In no state.
    None,
    /// In all states.
    Agreed,
    /// In the resolution and not in all states.
    Chosen,
    /// In a state and not in the resolution.
    NotChosen,
    /// In a state and not in all, and what the resolution has is not known.
    Disputed,
}

impl Picture {
    /// The picture of a room, with at most so many of its events.
    ///
    /// A graph with holes is still worth looking at; the picture says what it does not know.
    pub(super) fn of(room: &Room<'_>, auth: AuthEdges, max_events: usize) -> Self {
        let known = Known::of(room);
        let drawn = known.drawn(room, max_events);
        let mut nodes: Vec<Node> = drawn.iter().map(|index| known.node(room, *index)).collect();
        let node_of: BTreeMap<usize, usize> = drawn.iter().enumerate().map(|(node, index)| (*index, node)).collect();

        // Where an event that is named is: a node, none if it was left out, and a node of its own if the file lacks it.
        let mut missing: BTreeMap<EventKey, usize> = BTreeMap::new();
        let mut target = |nodes: &mut Vec<Node>, key: EventKey, id: &str| match room.find(key) {
            Some(index) => node_of.get(&index).copied(),
            None => Some(*missing.entry(key).or_insert_with(|| {
                nodes.push(Node::missing(id));
                nodes.len() - 1
            })),
        };
        let mut prev_edges = Vec::new();
        let mut auth_order = Vec::new();
        let mut auth_edges = Vec::new();
        for (node, index) in drawn.iter().enumerate() {
            let event = &room.events[*index];
            let mut left_out = 0;
            for id in event.pdu.prev_events() {
                match target(&mut nodes, EventKey::of(id), id) {
                    Some(earlier) => prev_edges.push((node, earlier)),
                    None => left_out += 1,
                }
            }
            if left_out > 0 {
                nodes[node].lines.push(format!("… {left_out} earlier not drawn"));
            }
            let is_drawn = match auth {
                AuthEdges::None => false,
                AuthEdges::All => true,
                AuthEdges::Some => known.roles[*index] > Role::Agreed || !matches!(known.standings[*index], Ok(None)),
            };
            for (key, id) in event.auth_events.iter().zip(event.pdu.auth_events()) {
                if !is_drawn && room.find(*key).is_none() {
                    continue;
                }
                let Some(cited) = target(&mut nodes, *key, id) else { continue };
                auth_order.push((node, cited));
                if is_drawn {
                    auth_edges.push((node, cited));
                }
            }
        }

        let conflicts = known.conflicts(room);
        let title = format!(
            "room version {}, {}, {}, {}",
            room.version,
            counted(room.events.len(), "event"),
            counted(room.states.len(), "state"),
            counted(conflicts.len(), "conflict"),
        );
        let mut notes = Vec::new();
        if drawn.len() < room.events.len() {
            notes.push(format!(
                "{} drawn: those in conflict, rejected ones, extremities, those of states, then the deepest",
                counted(drawn.len(), "event"),
            ));
        }
        if let Err(failure) = &known.resolved {
            notes.push(format!("the resolution is not known: {failure}"));
        }
        Picture { title, notes, nodes, prev_edges, auth_order, auth_edges, conflicts }
    }
}

/// What is known about a room's events, by their indexes.
struct Known {
    /// The resolution, if it can be told.
    resolved: Result<BTreeSet<usize>, Failure>,
    /// The states that have it.
    sets: Vec<Vec<usize>>,
    roles: Vec<Role>,
    /// The rule by which it was rejected, if that can be told.
    standings: Vec<Result<Option<Rc<Refusal>>, Failure>>,
    is_extremity: Vec<bool>,
}

impl Known {
    fn of(room: &Room<'_>) -> Self {
        let count = room.events.len();
        let mut sets = vec![Vec::new(); count];
        for (number, state) in room.states.iter().enumerate() {
            for index in state {
                sets[*index].push(number);
            }
        }
        let resolved = if room.states.is_empty() {
            Ok(BTreeSet::new())
        } else {
            room.resolve().map(|resolved| resolved.into_values().collect::<BTreeSet<usize>>())
        };
        let role = |index: usize, sets: &Vec<usize>| match &resolved {
            _ if sets.len() == room.states.len() && !sets.is_empty() => Role::Agreed,
            Ok(resolved) if resolved.contains(&index) => Role::Chosen,
            Ok(_) if !sets.is_empty() => Role::NotChosen,
            Err(_) if !sets.is_empty() => Role::Disputed,
            Ok(_) | Err(_) => Role::None,
        };
        let roles = sets.iter().enumerate().map(|(index, sets)| role(index, sets)).collect();
        let standings: Vec<_> = (0..count)
            .map(|index| {
                let event = &room.events[index].pdu;
                if room.lacks_create(event) {
                    return Err(Failure::of_file(room.file(), format!("has no create event of {}", event.room_id())));
                }
                room.refusal(index)
            })
            .collect();
        let mut is_extremity: Vec<bool> = standings.iter().map(|standing| !matches!(standing, Ok(Some(_)))).collect();
        for (event, standing) in room.events.iter().zip(&standings) {
            if !matches!(standing, Ok(Some(_))) {
                for earlier in event.pdu.prev_events().iter().filter_map(|id| room.find(EventKey::of(id))) {
                    is_extremity[earlier] = false;
                }
            }
        }
        Known { resolved, sets, roles, standings, is_extremity }
    }

    /// The events to draw, in their order: all, or where there are more than `max` those that say most.
    fn drawn(&self, room: &Room<'_>, max: usize) -> Vec<usize> {
        let mut drawn: Vec<usize> = (0..room.events.len()).collect();
        if drawn.len() > max {
            drawn.sort_by_cached_key(|index| {
                let class = match (self.roles[*index], &self.standings[*index]) {
                    (Role::Chosen | Role::NotChosen | Role::Disputed, _) => 0,
                    (_, Ok(Some(_))) => 1,
                    _ if self.is_extremity[*index] => 2,
                    (Role::Agreed, _) => 3,
                    (Role::None, _) => 4,
                };
                (class, Reverse(room.events[*index].pdu.depth()), Reverse(*index))
            });
            drawn.truncate(max);
            drawn.sort_unstable();
        }
        drawn
    }

    fn node(&self, room: &Room<'_>, index: usize) -> Node {
        let event = &room.events[index].pdu;
        let mut lines = label::lines(event, &self.sets[index]);
        let mut details = label::details(event);
        match &self.standings[index] {
            Ok(None) => {}
            Ok(Some(refusal)) => {
                lines.push(format!("✘ rejected by rule {}", refusal.rule));
                details.push_str(&format!("\nrejected: {refusal}"));
            }
            Err(failure) => {
                let what = if room.lacks_create(event) { "create event" } else { "auth events" };
                lines.push(format!("? {what} missing"));
                details.push_str(&format!("\nwhether it was rejected is not known: {failure}"));
            }
        }
        match self.roles[index] {
            Role::Chosen => lines.push("✔ in the resolution".to_owned()),
            Role::NotChosen => lines.push("✘ not in the resolution".to_owned()),
            Role::Disputed => lines.push("? not in all states".to_owned()),
            Role::Agreed | Role::None => {}
        }
        Node {
            lines,
            details,
            role: self.roles[index],
            is_state: event.is_state(),
            is_extremity: self.is_extremity[index],
            is_rejected: matches!(self.standings[index], Ok(Some(_))),
            is_missing: false,
        }
    }

    /// For each type and state key under which the states differ: what they have, and what came of it.
    fn conflicts(&self, room: &Room<'_>) -> Vec<String> {
        let mut places: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for index in (0..room.events.len()).filter(|index| self.roles[*index] > Role::Agreed) {
            let event = &room.events[index].pdu;
            places.entry((event.event_type(), event.state_key().unwrap_or_default())).or_default().push(index);
        }
        let id = |index: &usize| label::short_id(room.events[*index].pdu.event_id());
        let sentence = |((event_type, state_key), events): ((&str, &str), Vec<usize>)| {
            let (winner, losers): (Vec<usize>, Vec<usize>) =
                events.into_iter().partition(|index| self.roles[*index] == Role::Chosen);
            let losers: Vec<String> = losers.iter().map(id).collect();
            let outcome = match (&self.resolved, winner.first(), losers.as_slice()) {
                (Err(_), ..) => format!("one or none of {}", losers.join(", ")),
                (Ok(_), Some(winner), []) => format!("{}, which not all states have", id(winner)),
                (Ok(_), Some(winner), losers) => format!("{}, not {}", id(winner), losers.join(", ")),
                (Ok(_), None, losers) => format!("nothing, not {}", losers.join(", ")),
            };
            format!("{} \"{}\": {outcome}", label::fit(event_type, 40), label::fit(state_key, 40))
        };
        places.into_iter().map(sentence).collect()
    }
}

impl Node {
    fn missing(id: &str) -> Self {
        Node {
            lines: vec!["not in the file".to_owned(), label::short_id(id)],
            details: format!("{id}\nis named by other events, and not in the file"),
            role: Role::None,
            is_state: true,
            is_extremity: false,
            is_rejected: false,
            is_missing: true,
        }
    }
}

fn counted(count: usize, of: &str) -> String {
    if count == 1 { format!("1 {of}") } else { format!("{count} {of}s") }
}
