//! What lies between events in the graph of auth events.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::{Links, ResolveError, Room, graph::Graph};
use crate::ids::EventKey;

/// How many citing events are read at a time.
const PAGE: usize = 64;

/// The events on the ways that lead along `auth_events` from any of `from` to any of `to`, both ends included. An event that
/// is in both sets is a way of its own.
///
/// Two searches take turns, one from `from` downwards and one from `to` upwards, and the first that is done tells the
/// other where it may go. So the cost is that of the shorter one, twice: where a conflict is about events that nearly the
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
    let mut up = Up { seen: to.clone(), stack: to.iter().map(|event| (*event, None)).collect() };
    let mut has_index = true;
    loop {
        if !down.step(graph)? {
            return Ok(down.leading_to(to));
        }
        if has_index {
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
}

impl Down {
    fn new<R: Room>(
        graph: &mut Graph<'_, R>,
        from: &BTreeSet<EventKey>,
        to: &BTreeSet<EventKey>,
    ) -> Result<Self, ResolveError<R::Failure>> {
        let mut floor = u64::MAX;
        for event in to {
            floor = floor.min(graph.links(*event)?.generation.unwrap_or(0));
        }
        Ok(Down { seen: from.clone(), stack: from.iter().copied().collect(), passed: BTreeMap::new(), floor })
    }

    /// Passes one event. Gives whether there was one.
    fn step<R: Room>(&mut self, graph: &mut Graph<'_, R>) -> Result<bool, ResolveError<R::Failure>> {
        let Some(event) = self.stack.pop() else { return Ok(false) };
        let links = graph.links(event)?;
        if links.generation.is_none_or(|generation| generation > self.floor) {
            for cited in &links.auth_events {
                if self.seen.insert(*cited) {
                    self.stack.push(*cited);
                }
            }
            self.passed.insert(event, links);
        }
        Ok(true)
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
    /// Events of whose citing events those after the one named, if any, are still to be read.
    stack: Vec<(EventKey, Option<EventKey>)>,
}

enum Step {
    More,
    Done,
    NoIndex,
}

impl Up {
    /// Reads one page of citing events.
    fn step<R: Room>(&mut self, graph: &mut Graph<'_, R>) -> Result<Step, ResolveError<R::Failure>> {
        let Some((event, after)) = self.stack.pop() else { return Ok(Step::Done) };
        let Some(page) = graph.citing(event, after, PAGE)? else { return Ok(Step::NoIndex) };
        if page.len() == PAGE {
            self.stack.push((event, page.last().copied()));
        }
        for citing in page {
            if self.seen.insert(citing) {
                self.stack.push((citing, None));
            }
        }
        Ok(Step::More)
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
