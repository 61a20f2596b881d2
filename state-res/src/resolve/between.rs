//! What lies between events in the graph of auth events.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::{
    Citing, Links, ResolveError, Room,
    graph::{FIRST_PAGE, Graph},
};
use crate::ids::EventKey;

/// How many events a search passes in its turn.
const AT_ONCE: usize = 64;
/// How many citing events are read at a time where the first page did not suffice.
const NEXT_PAGES: usize = 64;
/// What such a page costs, in first pages or places in the graph: a row that follows takes about an eighth of the time in which
/// one is found.
const NEXT_PAGE_COST: usize = 8;

/// The events on the ways that lead along `auth_events` from any of `from` to any of `to`, both ends included. An event that
/// is in both sets is a way of its own.
///
/// Two searches advance side by side, one from `from` downwards and one from `to` upwards, and the first that is done tells the
/// other where it may go. That one goes on which will have read less by then; what has been read before costs nothing. So
/// the cost is that of the cheaper search, twice at most: where a conflict is about events that nearly the
/// whole room cites, few are above them that matter and the way down ends at them; where it is about what few cite, there are
/// few above. Without an index there is only the way down.
pub(super) fn between<R: Room>(
    graph: &mut Graph<'_, R>,
    from: &BTreeSet<EventKey>,
    to: &BTreeSet<EventKey>,
) -> Result<BTreeSet<EventKey>, ResolveError<R::Failure>> {
    if from.is_empty() || to.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut down = Down::new(graph, from, to)?;
    let mut up = Up { seen: to.clone(), stack: to.iter().copied().collect(), pages: Vec::new(), cost: 0 };
    let mut has_index = true;
    loop {
        if !has_index || down.cost + down.next_cost(graph) <= up.cost + up.next_cost(graph) {
            if !down.step(graph)? {
                return Ok(down.leading_to(to));
            }
        } else {
            match up.step(graph)? {
                Step::More => {}
                Step::Done => return up.reached_from(graph, from),
                Step::NoIndex => has_index = false,
            }
        }
    }
}

/// The search from above.
struct Down {
    seen: BTreeSet<EventKey>,
    stack: Vec<EventKey>,
    /// What those that were passed cite.
    passed: BTreeMap<EventKey, Rc<Links>>,
    /// No event of this generation or one below has a target below it. 0 if that is not known.
    floor: u64,
    /// How many places in the graph it has had to read.
    cost: usize,
}

impl Down {
    fn new<R: Room>(
        graph: &mut Graph<'_, R>,
        from: &BTreeSet<EventKey>,
        to: &BTreeSet<EventKey>,
    ) -> Result<Self, ResolveError<R::Failure>> {
        let mut floor = u64::MAX;
        graph.read_links(to.iter().copied())?;
        for event in to {
            floor = floor.min(graph.links(*event)?.generation.unwrap_or(0));
        }
        let stack = from.iter().copied().collect();
        Ok(Down { seen: from.clone(), stack, passed: BTreeMap::new(), floor, cost: 0 })
    }

    /// What the next step has to read.
    fn next_cost<R: Room>(&self, graph: &Graph<'_, R>) -> usize {
        next(&self.stack).iter().filter(|event| graph.known_links(**event).is_none()).count()
    }

    /// Passes some events. Gives whether there were any.
    fn step<R: Room>(&mut self, graph: &mut Graph<'_, R>) -> Result<bool, ResolveError<R::Failure>> {
        self.cost += self.next_cost(graph);
        let events = self.stack.split_off(self.stack.len() - next(&self.stack).len());
        graph.read_links(events.iter().copied())?;
        for event in &events {
            let links = graph.links(*event)?;
            if links.generation.is_none_or(|generation| generation > self.floor) {
                for cited in &links.auth_events {
                    if self.seen.insert(*cited) {
                        self.stack.push(*cited);
                    }
                }
                self.passed.insert(*event, links);
            }
        }
        Ok(!events.is_empty())
    }

    /// The events seen that are in `to` or lead there.
    fn leading_to(&self, to: &BTreeSet<EventKey>) -> BTreeSet<EventKey> {
        let mut cited_by: BTreeMap<EventKey, Vec<EventKey>> = BTreeMap::new();
        for (event, links) in &self.passed {
            for cited in &links.auth_events {
                cited_by.entry(*cited).or_default().push(*event);
            }
        }
        let mut leading: BTreeSet<EventKey> = self.seen.intersection(to).copied().collect();
        let mut stack: Vec<EventKey> = leading.iter().copied().collect();
        while let Some(event) = stack.pop() {
            for citing in cited_by.get(&event).into_iter().flatten() {
                if leading.insert(*citing) {
                    stack.push(*citing);
                }
            }
        }
        leading
    }
}

/// The search from below.
struct Up {
    seen: BTreeSet<EventKey>,
    /// Events of which nothing has been read that cites them.
    stack: Vec<EventKey>,
    /// Events of whose citing events those after the one named are still to be read.
    pages: Vec<(EventKey, EventKey)>,
    /// What it has had to read.
    cost: usize,
}

enum Step {
    More,
    Done,
    NoIndex,
}

impl Up {
    /// What the next step has to read.
    fn next_cost<R: Room>(&self, graph: &Graph<'_, R>) -> usize {
        match self.pages.last() {
            Some(_) => NEXT_PAGE_COST,
            None => next(&self.stack).iter().filter(|event| !graph.knows_citing(**event)).count(),
        }
    }

    /// Reads the next page of what cites one event, or the first pages of several.
    fn step<R: Room>(&mut self, graph: &mut Graph<'_, R>) -> Result<Step, ResolveError<R::Failure>> {
        self.cost += self.next_cost(graph);
        if let Some((event, after)) = self.pages.pop() {
            let Some(page) = graph.citing_after(event, after, NEXT_PAGES)? else { return Ok(Step::NoIndex) };
            self.pass(event, &page, NEXT_PAGES);
            return Ok(Step::More);
        }
        let events = self.stack.split_off(self.stack.len() - next(&self.stack).len());
        if events.is_empty() {
            return Ok(Step::Done);
        }
        graph.read_citing(events.iter().copied())?;
        for event in events {
            let Some(page) = graph.first_citing(event)? else { return Ok(Step::NoIndex) };
            self.pass(event, &page, FIRST_PAGE);
        }
        Ok(Step::More)
    }

    /// Takes notice of a page of what cites an event, which is the last unless it has `size` events.
    fn pass(&mut self, event: EventKey, page: &[Citing], size: usize) {
        if page.len() == size {
            self.pages.extend(page.last().map(|last| (event, last.event)));
        }
        for citing in page {
            if self.seen.insert(citing.event) {
                self.stack.push(citing.event);
            }
        }
    }

    /// The events seen that are in `from` or that these lead to.
    fn reached_from<R: Room>(
        &self,
        graph: &mut Graph<'_, R>,
        from: &BTreeSet<EventKey>,
    ) -> Result<BTreeSet<EventKey>, ResolveError<R::Failure>> {
        let mut reached: BTreeSet<EventKey> = self.seen.intersection(from).copied().collect();
        let mut stack: Vec<EventKey> = reached.iter().copied().collect();
        while let Some(event) = stack.pop() {
            for cited in &graph.links(event)?.auth_events {
                if self.seen.contains(cited) && reached.insert(*cited) {
                    stack.push(*cited);
                }
            }
        }
        Ok(reached)
    }
}

/// The events that a search passes next.
fn next(stack: &[EventKey]) -> &[EventKey] {
    &stack[stack.len().saturating_sub(AT_ONCE)..]
}
