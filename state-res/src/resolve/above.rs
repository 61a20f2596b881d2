//! What lies above an event in the graph of auth events: the events that cite it, those that cite these, and so on.

use std::collections::BTreeMap;

use super::{
    ResolveError, Room,
    conflicts::Conflicts,
    graph::{FIRST_PAGE, Graph},
    states::States,
};
use crate::ids::EventKey;

/// In whose auth chains an event is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chains {
    /// In that of an event on which all states agree, and so in all of them.
    Agreed,
    /// In those of conflicted events only, which these states have.
    Conflicted(States),
}

/// A search from events upwards. What it learns about one event serves for the next: an event is passed at most once in
/// all, however many are asked about.
///
/// It is the strongly connected components algorithm of Tarjan, since events of room version 2 may cite each other in a
/// circle. It differs in that it ends when it meets an event on which all states agree: whatever it has not done with then
/// lies below that event.
pub(super) struct Above<'a> {
    conflicts: &'a Conflicts,
    /// For each conflicted event the states that have it.
    holders: BTreeMap<EventKey, States>,
    known: BTreeMap<EventKey, Chains>,
    /// Whether an event is what all states have in its place.
    agreed: BTreeMap<EventKey, bool>,
    /// How many more events may be looked at.
    budget: usize,
}

/// An event on the path of the search.
struct Visit {
    event: EventKey,
    /// In which order the search came to it.
    number: usize,
    /// The lowest number of an event on the path that is above this one.
    lowest: usize,
    /// The states of conflicted events found above.
    states: States,
    /// Events that cite it and are still to be visited.
    waiting: Vec<EventKey>,
    /// Where the next page of those begins; none if there is none.
    next_page: Option<Page>,
}

/// A page of the events that cite another.
#[derive(Clone, Copy)]
enum Page {
    First,
    After(EventKey),
}

/// How many citing events are read at a time where the first page did not suffice.
const NEXT_PAGES: usize = 64;

impl<'a> Above<'a> {
    /// A search that gives up when it has looked at so many events.
    pub(super) fn new(conflicts: &'a Conflicts, budget: usize) -> Self {
        Above { conflicts, holders: conflicts.holders(), known: BTreeMap::new(), agreed: BTreeMap::new(), budget }
    }

    /// In whose auth chains an event is; `None` if the room has no index or the budget is spent.
    pub(super) fn of<R: Room>(
        &mut self,
        graph: &mut Graph<'_, R>,
        event: EventKey,
    ) -> Result<Option<Chains>, ResolveError<R::Failure>> {
        if !self.known.contains_key(&event) && !self.search(graph, event)? {
            return Ok(None);
        }
        Ok(self.known.get(&event).cloned())
    }

    /// Finds out about an event and, on the way, about others. Gives whether it could.
    fn search<R: Room>(&mut self, graph: &mut Graph<'_, R>, start: EventKey) -> Result<bool, ResolveError<R::Failure>> {
        let mut path = vec![Visit::new(start, 0)];
        // Events of which it is not known yet whether they form a circle with one on the path, with their numbers.
        let mut open: Vec<EventKey> = vec![start];
        let mut numbers = BTreeMap::from([(start, 0)]);
        while let Some(visit) = path.last_mut() {
            if let Some(citing) = visit.waiting.pop() {
                if let Some(holders) = self.holders.get(&citing) {
                    visit.states.extend(holders);
                }
                match (self.known.get(&citing), numbers.get(&citing)) {
                    (Some(Chains::Conflicted(states)), _) => visit.states.extend(states),
                    (Some(Chains::Agreed), _) => {
                        self.all_agreed(&open);
                        return Ok(true);
                    }
                    (None, Some(number)) => visit.lowest = visit.lowest.min(*number),
                    (None, None) => {
                        let number = numbers.len();
                        numbers.insert(citing, number);
                        open.push(citing);
                        path.push(Visit::new(citing, number));
                    }
                }
                continue;
            }
            if let Some(page) = visit.next_page {
                let (citing, size) = match page {
                    Page::First => (graph.first_citing(visit.event)?.map(|page| page.to_vec()), FIRST_PAGE),
                    Page::After(event) => (graph.citing_after(visit.event, event, NEXT_PAGES)?, NEXT_PAGES),
                };
                let Some(citing) = citing else { return Ok(false) };
                if citing.len() >= self.budget {
                    return Ok(false);
                }
                self.budget -= citing.len() + 1;
                visit.next_page = citing.last().filter(|_| citing.len() == size).map(|last| Page::After(*last));
                graph.read_links(citing.iter().copied())?;
                for event in &citing {
                    if self.known.get(event) == Some(&Chains::Agreed) || self.is_agreed(graph, *event)? {
                        self.all_agreed(&open);
                        return Ok(true);
                    }
                }
                visit.waiting = citing;
                continue;
            }
            // All above this one has been seen.
            let Some(done) = path.pop() else { break };
            if let Some(below) = path.last_mut() {
                below.lowest = below.lowest.min(done.lowest);
                below.states.extend(&done.states);
            }
            if done.lowest == done.number {
                // It and those opened after it, if any, form a circle: what is above one of them is above all.
                while let Some(event) = open.pop() {
                    self.known.insert(event, Chains::Conflicted(done.states.clone()));
                    if event == done.event {
                        break;
                    }
                }
            }
        }
        Ok(true)
    }

    /// Whether an event is what all states have in its place.
    fn is_agreed<R: Room>(
        &mut self,
        graph: &mut Graph<'_, R>,
        event: EventKey,
    ) -> Result<bool, ResolveError<R::Failure>> {
        if let Some(agreed) = self.agreed.get(&event) {
            return Ok(*agreed);
        }
        let agreed = match graph.links(event)?.place {
            Some(place) if !self.conflicts.contains(place) => {
                graph.in_state(self.conflicts.base(), place)? == Some(event)
            }
            _ => false,
        };
        self.agreed.insert(event, agreed);
        Ok(agreed)
    }

    fn all_agreed(&mut self, events: &[EventKey]) {
        self.known.extend(events.iter().map(|event| (*event, Chains::Agreed)));
    }
}

impl Visit {
    fn new(event: EventKey, number: usize) -> Self {
        Visit {
            event,
            number,
            lowest: number,
            states: States::default(),
            waiting: Vec::new(),
            next_page: Some(Page::First),
        }
    }
}
