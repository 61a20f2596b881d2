//! A store with the index of the graph of auth events, kept as events arrive.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
};

use state_res::{
    ids::EventKey,
    pdu::Pdu,
    resolve::{Citing, Events, Links},
    tree::{NodeHash, Nodes},
};

use crate::generated::Store;

/// A [`Store`] and the index of its events.
pub struct Indexed<'a> {
    store: &'a Store,
    links: BTreeMap<EventKey, Links>,
    citing: BTreeMap<EventKey, BTreeSet<Citing>>,
    /// How many questions were asked: nodes, events, rows of the index, pages of it.
    pub lookups: Cell<usize>,
}

impl<'a> Indexed<'a> {
    /// The index as it is when the events have arrived in this order.
    pub fn new<'e>(store: &'a Store, arrivals: impl IntoIterator<Item = &'e Pdu>) -> Self {
        let mut indexed = Indexed { store, links: BTreeMap::new(), citing: BTreeMap::new(), lookups: Cell::new(0) };
        for event in arrivals {
            indexed.arrive(event);
        }
        indexed
    }

    fn arrive(&mut self, event: &Pdu) {
        let mut links = Links::of(event);
        links.generation = Links::generation_above(
            links.auth_events.iter().map(|cited| self.links.get(cited).and_then(|cited| cited.generation)),
        );
        let citing = links.place.map(|place| Citing { event: event.key(), place });
        for cited in &links.auth_events {
            self.citing.entry(*cited).or_default().extend(citing);
        }
        self.links.insert(event.key(), links);
    }

    fn asked<T>(&self, answer: T) -> T {
        self.lookups.set(self.lookups.get() + 1);
        answer
    }
}

impl Nodes for Indexed<'_> {
    type Error = Infallible;
    type Bytes = Arc<[u8]>;

    fn node(&self, hash: &NodeHash) -> Result<Option<Arc<[u8]>>, Infallible> {
        self.asked(self.store.node(hash))
    }
}

impl Events for Indexed<'_> {
    type Error = Infallible;

    fn event(&self, key: EventKey) -> Result<Option<Pdu>, Infallible> {
        self.asked(self.store.event(key))
    }

    fn is_rejected(&self, key: EventKey) -> Result<bool, Infallible> {
        self.asked(self.store.is_rejected(key))
    }

    fn links(&self, key: EventKey) -> Result<Option<Links>, Infallible> {
        Ok(self.asked(self.links.get(&key).cloned()))
    }

    fn links_said(&self, event: &Pdu) -> Option<Links> {
        Some(Links::of(event))
    }

    fn citing(&self, key: EventKey, after: Option<EventKey>, limit: usize) -> Result<Option<Vec<Citing>>, Infallible> {
        let all = self.citing.get(&key).into_iter().flatten();
        let rest = all.filter(|citing| after.is_none_or(|after| citing.event > after));
        Ok(Some(self.asked(rest.take(limit).copied().collect())))
    }
}
