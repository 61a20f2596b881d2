//! `causeway-state graph`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use state_res::ids::EventKey;

mod dot;
mod label;
mod layout;
mod svg;

use crate::{
    arguments::{Arguments, Usage},
    failure::Failure,
    input::{self, MAX_FILE_BYTES, Source},
    keys::Keys,
    room::{Room, States},
};

/// The most events that are drawn: what is larger nobody can look at.
const MAX_DRAWN_EVENTS: usize = 5_000;

/// What is to be drawn, and where to.
pub(crate) struct Wanted {
    format: Format,
    out: Option<String>,
    auth: AuthEdges,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Dot,
    Svg,
}

/// Whose auth events are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AuthEdges {
    None,
    /// Those of events in conflict and of rejected ones.
    Some,
    All,
}

impl Wanted {
    pub(crate) fn of(arguments: &Arguments) -> Result<Self, Usage> {
        let wrong = |sentence: &str| Err(Usage::new(sentence, Some("graph")));
        let out = arguments.option("--out").map(str::to_owned);
        let format = match arguments.option("--format") {
            Some(_) if out.is_some() => return wrong("--out writes both formats, so --format makes no sense with it"),
            None | Some("dot") => Format::Dot,
            Some("svg") => Format::Svg,
            Some(_) => return wrong("--format must be dot or svg"),
        };
        let auth = match arguments.option("--auth") {
            None | Some("some") => AuthEdges::Some,
            Some("all") => AuthEdges::All,
            Some("none") => AuthEdges::None,
            Some(_) => return wrong("--auth must be some, all or none"),
        };
        Ok(Wanted { format, out, auth })
    }
}

/// Draws a file's graph.
pub(crate) fn run(file: &str, keys: Option<&str>, wanted: &Wanted) -> Result<String, Failure> {
    let keys = keys.map(Keys::read).transpose()?;
    let bytes = input::read(file, MAX_FILE_BYTES)?;
    let room = Room::read(Source::new(file, &bytes)?, keys.as_ref(), States::Optional)?;
    if room.events.len() > MAX_DRAWN_EVENTS {
        let reason = format!("has {} events, more than the {MAX_DRAWN_EVENTS} that are drawn", room.events.len());
        return Err(Failure::of_file(file, reason));
    }
    let picture = Picture::of(&room, wanted.auth)?;
    let Some(prefix) = &wanted.out else {
        return Ok(match wanted.format {
            Format::Dot => dot::write(&picture),
            Format::Svg => svg::write(&picture),
        });
    };
    let (dot, svg) = (format!("{prefix}.dot"), format!("{prefix}.svg"));
    for (name, text) in [(&dot, dot::write(&picture)), (&svg, svg::write(&picture))] {
        std::fs::write(name, text).map_err(|error| Failure::of_file(name, error))?;
    }
    Ok(json!({ "dot": dot, "svg": svg }).to_string())
}

/// What is drawn.
struct Picture {
    title: String,
    nodes: Vec<Node>,
    /// From an event to one before it, as indexes of nodes.
    prev_edges: Vec<(usize, usize)>,
    /// All of them, drawn or not: they too tell what comes before what.
    auth_order: Vec<(usize, usize)>,
    /// Those that are drawn.
    auth_edges: Vec<(usize, usize)>,
    /// For each place in which the states differ a sentence.
    conflicts: Vec<String>,
}

/// An event.
struct Node {
    lines: Vec<String>,
    /// Everything about it, for who wants to know.
    details: String,
    role: Role,
    is_state: bool,
    is_extremity: bool,
    is_rejected: bool,
}

/// What an event is to the resolution.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Role {
    /// In no state.
    None,
    /// In all states.
    Agreed,
    /// In the resolution and not in all states.
    Chosen,
    /// In a state and not in the resolution.
    NotChosen,
}

impl Picture {
    fn of(room: &Room<'_>, auth: AuthEdges) -> Result<Self, Failure> {
        let count = room.events.len();
        let resolved: BTreeSet<usize> =
            if room.states.is_empty() { BTreeSet::new() } else { room.resolve()?.into_values().collect() };
        let roles: Vec<Role> = (0..count).map(|index| role(room, &resolved, index)).collect();

        let mut nodes = Vec::with_capacity(count);
        let mut is_rejected = Vec::with_capacity(count);
        for (index, role) in roles.iter().enumerate() {
            // A graph with holes is still worth looking at; the picture says what it does not know.
            let standing = room.refusal(index);
            is_rejected.push(matches!(&standing, Ok(Some(_))));
            let sets: Vec<usize> = (0..room.states.len()).filter(|set| room.states[*set].contains(&index)).collect();
            let event = &room.events[index].pdu;
            let missing = event.prev_events().iter().filter(|id| room.find(EventKey::of(id)).is_none()).count();
            let mut lines = label::lines(event, &sets);
            let mut details = label::details(event);
            match &standing {
                Ok(None) => {}
                Ok(Some(refusal)) => {
                    lines.push(format!("✘ rejected by rule {}", refusal.rule));
                    details.push_str(&format!("\nrejected: {refusal}"));
                }
                Err(failure) => {
                    lines.push("? auth events missing".to_owned());
                    details.push_str(&format!("\nwhether it was rejected is not known: {failure}"));
                }
            }
            match role {
                Role::Chosen => lines.push("✔ in the resolution".to_owned()),
                Role::NotChosen => lines.push("✘ not in the resolution".to_owned()),
                Role::Agreed | Role::None => {}
            }
            if missing > 0 {
                lines.push(format!("… {missing} earlier not in file"));
            }
            nodes.push(Node {
                lines,
                details,
                role: *role,
                is_state: event.is_state(),
                is_extremity: false,
                is_rejected: is_rejected[index],
            });
        }

        let mut prev_edges = Vec::new();
        let mut is_followed = vec![false; count];
        let mut auth_order = Vec::new();
        let mut auth_edges = Vec::new();
        for index in 0..count {
            let event = &room.events[index];
            for earlier in event.pdu.prev_events().iter().filter_map(|id| room.find(EventKey::of(id))) {
                prev_edges.push((index, earlier));
                is_followed[earlier] |= !is_rejected[index];
            }
            let is_drawn = match auth {
                AuthEdges::None => false,
                AuthEdges::All => true,
                AuthEdges::Some => matches!(roles[index], Role::Chosen | Role::NotChosen) || is_rejected[index],
            };
            for cited in event.auth_events.iter().filter_map(|key| room.find(*key)) {
                auth_order.push((index, cited));
                if is_drawn {
                    auth_edges.push((index, cited));
                }
            }
        }
        for (index, node) in nodes.iter_mut().enumerate() {
            node.is_extremity = !is_followed[index] && !is_rejected[index];
        }
        let conflicts = conflicts(room, &resolved);
        let title = format!(
            "room version {}, {}, {}, {}",
            room.version,
            counted(count, "event"),
            counted(room.states.len(), "state"),
            counted(conflicts.len(), "conflict"),
        );
        Ok(Picture { title, nodes, prev_edges, auth_order, auth_edges, conflicts })
    }
}

fn counted(count: usize, of: &str) -> String {
    if count == 1 { format!("1 {of}") } else { format!("{count} {of}s") }
}

fn role(room: &Room<'_>, resolved: &BTreeSet<usize>, index: usize) -> Role {
    let states = room.states.iter().filter(|state| state.contains(&index)).count();
    match (resolved.contains(&index), states) {
        (true, states) if states == room.states.len() => Role::Agreed,
        (true, _) => Role::Chosen,
        (false, 0) => Role::None,
        (false, _) => Role::NotChosen,
    }
}

/// For each type and state key under which the states differ: what they have, and what came of it.
fn conflicts(room: &Room<'_>, resolved: &BTreeSet<usize>) -> Vec<String> {
    let mut places: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    let everywhere = room.states.iter().flatten().copied().chain(resolved.iter().copied());
    for index in everywhere {
        let event = &room.events[index].pdu;
        let events = places.entry((event.event_type(), event.state_key().unwrap_or_default())).or_default();
        if !events.contains(&index) {
            events.push(index);
        }
    }
    let mut sentences = Vec::new();
    for ((event_type, state_key), events) in places {
        if let [only] = events.as_slice()
            && resolved.contains(only)
            && room.states.iter().all(|state| state.contains(only))
        {
            continue;
        }
        let id = |index: &usize| label::short_id(room.events[*index].pdu.event_id());
        let losers: Vec<String> = events.iter().filter(|index| !resolved.contains(index)).map(id).collect();
        let outcome = match (events.iter().find(|index| resolved.contains(index)), losers.as_slice()) {
            (Some(winner), []) => format!("{}, which not all states have", id(winner)),
            (Some(winner), losers) => format!("{}, not {}", id(winner), losers.join(", ")),
            (None, losers) => format!("nothing, not {}", losers.join(", ")),
        };
        sentences.push(format!("{} \"{}\": {outcome}", label::fit(event_type, 40), label::fit(state_key, 40)));
    }
    sentences
}
