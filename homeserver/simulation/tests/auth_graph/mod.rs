//! The index of the graph of auth events, held against the events that a server has stored.

use services::{
    rooms::{RoomReader, record::StoredEvent},
    tables,
};
use simulation::Server;
use state_res::{
    ids::{EventKey, RoomKey},
    pdu::Pdu,
    resolve::{Events, Links},
};
use std::collections::{BTreeMap, BTreeSet};

/// Checks that a server's index has what its stored state events say, of whichever standing they are and however they came, and
/// nothing else. Gives how many those are.
pub(crate) fn check(server: &Server) -> usize {
    let services = server.services().unwrap();
    let snapshot = services.store.snapshot();
    let mut events: BTreeMap<EventKey, (RoomKey, Pdu)> = BTreeMap::new();
    for row in snapshot.scan_prefix(tables::PDUS, &[]) {
        let (key, bytes) = row.unwrap();
        let stored = StoredEvent::decode(EventKey::from_bytes(key[..].try_into().unwrap()), bytes).unwrap();
        let pdu = Pdu::from_stored(stored.version().unwrap(), stored.event_id(), stored.canonical().to_vec()).unwrap();
        if pdu.is_state() {
            events.insert(stored.key(), (stored.room(), pdu));
        }
    }

    let mut cited_by = BTreeMap::new();
    for (key, (room, pdu)) in &events {
        let links = services.rooms.reader(*room).links(*key).unwrap().unwrap();
        let generation = links.generation;
        assert_eq!(Links { generation: None, ..links }, Links::of(pdu), "{pdu:?}");
        // The row of each is right if it is right above those of its auth events.
        let cited = links_of(pdu).map(|cited| services.rooms.reader(*room).links(cited).unwrap().unwrap().generation);
        assert!(generation.is_some() && generation == Links::generation_above(cited), "{generation:?} of {pdu:?}");
        for cited in links_of(pdu) {
            let row = [*room.as_bytes(), *cited.as_bytes(), *key.as_bytes()].concat();
            cited_by.insert(row, Links::of(pdu).place.unwrap().as_bytes().to_vec());
        }
    }
    let rows = |table| {
        snapshot.scan_prefix(table, &[]).map(|row| row.unwrap()).map(|(key, value)| (key.to_vec(), value.to_vec()))
    };
    for room in events.values().map(|(room, _)| *room).collect::<BTreeSet<_>>() {
        pages(
            &services.rooms.reader(room),
            events.iter().filter(|(_, (of, _))| *of == room).map(|(key, (_, pdu))| (*key, pdu)),
        );
    }
    let keys = events.iter().map(|(key, (room, _))| [*room.as_bytes(), *key.as_bytes()].concat());
    let (own, citing): (BTreeMap<_, _>, BTreeMap<_, _>) =
        rows(tables::AUTH_GRAPH).partition(|(key, _)| key.len() == 32);
    assert_eq!(own.into_keys().collect::<BTreeSet<_>>(), keys.collect());
    assert_eq!(citing, cited_by);
    events.len()
}

/// Checks that several events are answered for together as each of them alone, and that what cites them comes in whole pages.
fn pages<'e>(reader: &RoomReader, events: impl Iterator<Item = (EventKey, &'e Pdu)>) {
    const PAGE: usize = 2;
    let mut citing: BTreeMap<EventKey, BTreeSet<EventKey>> = BTreeMap::new();
    for (key, pdu) in events {
        citing.entry(key).or_default();
        for cited in links_of(pdu) {
            citing.entry(cited).or_default().insert(key);
        }
    }
    let keys: Vec<EventKey> = citing.keys().rev().copied().collect();
    for (key, around) in keys.iter().zip(reader.around(&keys, PAGE).unwrap()) {
        assert_eq!(around.links, reader.links(*key).unwrap());
        let mut found: Vec<EventKey> = around.citing.unwrap().iter().map(|citing| citing.event).collect();
        while let page = reader.citing(*key, found.last().copied(), PAGE).unwrap().unwrap()
            && !page.is_empty()
        {
            assert!(page.len() <= PAGE && found.len().is_multiple_of(PAGE), "only the last page is not whole");
            found.extend(page.iter().map(|citing| citing.event));
        }
        assert_eq!(found, citing[key].iter().copied().collect::<Vec<_>>());
    }
}

fn links_of(pdu: &Pdu) -> impl Iterator<Item = EventKey> + '_ {
    pdu.auth_events().iter().map(|id| EventKey::of(id))
}
