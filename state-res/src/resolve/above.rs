//! What lies above an event in the graph of auth events: the events that cite it, those that cite these, and so on.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Citing, ResolveError, Room,
    conflicts::Conflicts,
    graph::{FIRST_PAGE, Graph},
    states::States,
};
use crate::ids::EventKey;

/// In whose auth chains an event is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chains {
    /// Of all states: in that of an event on which they agree, or in those of conflicted events of each.
    All,
    /// Of these states only, whose conflicted events it is below.
    Some(States),
}

/// A search from events upwards. What it learns about one event serves for the next: an event is passed at most once in
/// all, however many are asked about.
///
/// It is the strongly connected components algorithm of Tarjan, since events of room version 2 may cite each other in a
/// circle. It differs in that it ends when it meets an event on which all states agree, or has met conflicted events of all
/// states: whatever it has not done with then lies below these.
pub(super) struct Above<'a> {
    conflicts: &'a Conflicts,
    /// For each conflicted event the states that have it.
    holders: BTreeMap<EventKey, States>,
    known: BTreeMap<EventKey, Chains>,
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

/// What came of reading a page.
enum Outcome {
    /// The events of the page are to be visited.
    Read,
    /// The cited event is in the auth chains of all states.
    InAll,
    /// There is no index, or the budget is spent.
    GaveUp,
}

/// Of how many events at once is read what cites them.
const AT_ONCE: usize = 32;
/// How many citing events are read at a time where the first page did not suffice.
const NEXT_PAGES: usize = 64;

impl<'a> Above<'a> {
    /// A search that gives up when it has looked at so many events.
    pub(super) fn new(conflicts: &'a Conflicts, budget: usize) -> Self {
        Above { conflicts, holders: conflicts.holders(), known: BTreeMap::new(), budget }
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

    /// Reads together what the searches from these events will want to know first. Gives whether there is an index.
    pub(super) fn read_ahead<R: Room>(
        &self,
        graph: &mut Graph<'_, R>,
        events: &[EventKey],
    ) -> Result<bool, ResolveError<R::Failure>> {
        // What is below another of them need not be searched from, if that one is below what all states have.
        let mut below = BTreeSet::new();
        for event in events {
            below.extend(graph.known_links(*event).into_iter().flat_map(|links| links.auth_events.iter().copied()));
        }
        let tops: Vec<EventKey> = events.iter().copied().filter(|event| !below.contains(event)).collect();
        if !graph.read_citing(tops.iter().copied())? {
            return Ok(false);
        }
        let mut places = Vec::with_capacity(tops.len());
        for top in tops {
            let citing = graph.first_citing(top)?;
            let place = citing.iter().flat_map(|page| page.iter()).map(|citing| citing.place);
            places.extend(place.filter(|place| !self.conflicts.contains(*place)).take(1));
        }
        graph.read_entries(self.conflicts.base(), places)?;
        Ok(true)
    }

    /// Finds out about an event and, on the way, about others. Gives whether it could.
    fn search<R: Room>(&mut self, graph: &mut Graph<'_, R>, start: EventKey) -> Result<bool, ResolveError<R::Failure>> {
        let mut path = vec![Visit::new(start, 0)];
        // Events of which it is not known yet whether they form a circle with one on the path, with their numbers.
        let mut open: Vec<EventKey> = vec![start];
        let mut numbers = BTreeMap::from([(start, 0)]);
        while let Some(visit) = path.last_mut() {
            if visit.states.len() == self.conflicts.states() {
                self.in_all(graph, open);
                return Ok(true);
            }
            if visit.next_page.is_none()
                && let Some(citing) = visit.waiting.pop()
            {
                match (self.known.get(&citing), numbers.get(&citing)) {
                    (Some(Chains::Some(states)), _) => visit.states.extend(states),
                    (Some(Chains::All), _) => {
                        self.in_all(graph, open);
                        return Ok(true);
                    }
                    (None, Some(number)) => visit.lowest = visit.lowest.min(*number),
                    (None, None) => {
                        if !graph.knows_citing(citing) {
                            let next = visit.waiting[visit.waiting.len().saturating_sub(AT_ONCE)..].iter().copied();
                            graph.read_citing(
                                [citing].into_iter().chain(next.filter(|next| !self.known.contains_key(next))),
                            )?;
                        }
                        let number = numbers.len();
                        numbers.insert(citing, number);
                        open.push(citing);
                        path.push(Visit::new(citing, number));
                    }
                }
                continue;
            }
            if let Some(page) = visit.next_page {
                match self.read_page(graph, visit, page)? {
                    Outcome::Read => continue,
                    Outcome::InAll => {
                        self.in_all(graph, open);
                        return Ok(true);
                    }
                    Outcome::GaveUp => return Ok(false),
                }
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
                    self.known.insert(event, Chains::Some(done.states.clone()));
                    if event == done.event {
                        break;
                    }
                }
            }
        }
        Ok(true)
    }

    /// Reads a page of what cites the event of a visit.
    fn read_page<R: Room>(
        &mut self,
        graph: &mut Graph<'_, R>,
        visit: &mut Visit,
        page: Page,
    ) -> Result<Outcome, ResolveError<R::Failure>> {
        let (citing, size) = match page {
            Page::First => (graph.first_citing(visit.event)?.map(|page| page.to_vec()), FIRST_PAGE),
            Page::After(event) => (graph.citing_after(visit.event, event, NEXT_PAGES)?, NEXT_PAGES),
        };
        let Some(citing) = citing.filter(|citing| citing.len() < self.budget) else { return Ok(Outcome::GaveUp) };
        self.budget -= citing.len() + 1;
        visit.next_page = citing.last().filter(|_| citing.len() == size).map(|last| Page::After(last.event));
        for citing in &citing {
            if let Some(holders) = self.holders.get(&citing.event) {
                visit.states.extend(holders);
            }
        }
        if visit.states.len() == self.conflicts.states() || self.any_in_all(graph, &citing)? {
            return Ok(Outcome::InAll);
        }
        visit.waiting.extend(citing.iter().map(|citing| citing.event));
        Ok(Outcome::Read)
    }

    /// Whether any of these is in all auth chains itself, or what all states have in its place.
    fn any_in_all<R: Room>(
        &self,
        graph: &mut Graph<'_, R>,
        citing: &[Citing],
    ) -> Result<bool, ResolveError<R::Failure>> {
        if citing.iter().any(|citing| self.known.get(&citing.event) == Some(&Chains::All)) {
            return Ok(true);
        }
        let base = self.conflicts.base();
        let undisputed: Vec<&Citing> = citing.iter().filter(|citing| !self.conflicts.contains(citing.place)).collect();
        for (number, citing) in undisputed.iter().enumerate() {
            if graph.in_state(base, citing.place)? == Some(citing.event) {
                return Ok(true);
            }
            // Most often the first is. If it is not, then none may be.
            if number == 0 {
                graph.read_entries(base, undisputed.iter().map(|citing| citing.place))?;
            }
        }
        Ok(false)
    }

    /// Notes that these are in the auth chains of all states, and with them what lies below, as far as it has been read.
    fn in_all<R: Room>(&mut self, graph: &Graph<'_, R>, mut events: Vec<EventKey>) {
        while let Some(event) = events.pop() {
            if self.known.insert(event, Chains::All) != Some(Chains::All) {
                events.extend(graph.known_links(event).into_iter().flat_map(|links| links.auth_events.iter()));
            }
        }
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
