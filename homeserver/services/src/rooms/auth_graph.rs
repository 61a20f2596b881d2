//! The index of the graph of auth events: what each state event cites, and what cites it. State resolution finds through it what
//! lies above and below an event without walking a room's history.
//!
//! An event's rows say nothing but what the event says, and its generation, which its auth events' determine. So they never change
//! with what else arrives, when, or how often; they go into the batch that first persists the event, whatever its standing, and a
//! batch that persists it again adds what is still missing. Messages have none: nothing cites them for authorisation.
//!
//! The rows that say what cites an event follow the event's own, so that whoever asks for both looks in one place.

use super::reader::{RoomReader, damaged, room_key};
use crate::error::Result;
use crate::tables;
use state_res::ids::{EventKey, StateKeyId};
use state_res::pdu::Pdu;
use state_res::resolve::{Around, Citing, Links};
use storage::{Batch, Scan};

/// Bytes of a key of an event, and of a place in a state.
const KEY: usize = 16;

/// Adds the rows of an event to the batch that persists it, and makes them known to `reader`. Its auth events have theirs, in the
/// store or by way of `reader`; the generation of an event of which that is not so remains unknown.
///
/// # Errors
/// A failing store.
pub fn index(batch: &mut Batch, reader: &mut RoomReader, pdu: &Pdu) -> Result<()> {
    if !pdu.is_state() {
        return Ok(());
    }
    let key = pdu.key();
    let known = row(reader, key)?;
    if known.as_ref().is_some_and(|links| links.generation.is_some()) {
        return Ok(());
    }
    let mut links = Links::of(pdu);
    let mut generations = Vec::with_capacity(links.auth_events.len());
    for cited in &links.auth_events {
        generations.push(row(reader, *cited)?.and_then(|links| links.generation));
    }
    links.generation = Links::generation_above(generations);
    if known.as_ref() == Some(&links) {
        return Ok(());
    }
    batch.put(tables::AUTH_GRAPH, &room_key(reader.room, key.as_bytes()), &encode(&links));
    if known.is_none()
        && let Some(place) = links.place
    {
        for cited in &links.auth_events {
            let mut row = room_key(reader.room, cited.as_bytes());
            row.extend_from_slice(key.as_bytes());
            batch.put(tables::AUTH_GRAPH, &row, place.as_bytes());
        }
    }
    reader.new_links.insert(key, links);
    Ok(())
}

/// An event's place in the graph; `None` if there is no such event.
///
/// # Errors
/// A failing store.
pub(super) fn links(reader: &RoomReader, key: EventKey) -> Result<Option<Links>> {
    match row(reader, key)? {
        Some(links) => Ok(Some(links)),
        // A message, if anything.
        None => Ok(reader.pdu(key)?.as_ref().map(Links::of)),
    }
}

/// What lies around several events in the graph, in their order: their own places, and the first `limit` of the state events that
/// cite them.
///
/// # Errors
/// A failing store.
pub(super) fn around(reader: &RoomReader, keys: &[EventKey], limit: usize) -> Result<Vec<Around>> {
    let mut rows = reader.snapshot.scan_prefix(tables::AUTH_GRAPH, reader.room.as_bytes());
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let (row, citing) = page(reader, &mut rows, *key, None, limit)?;
        let links = match reader.new_links.get(key).cloned().or(row) {
            Some(links) => Some(links),
            // A message, if anything.
            None => reader.pdu(*key)?.as_ref().map(Links::of),
        };
        found.push(Around { links, citing: Some(citing) });
    }
    Ok(found)
}

/// The first `limit` of the state events that cite this one and have keys greater than `after`, by ascending key.
///
/// # Errors
/// A failing store.
pub(super) fn citing(reader: &RoomReader, key: EventKey, after: Option<EventKey>, limit: usize) -> Result<Vec<Citing>> {
    let mut rows = reader.snapshot.scan_prefix(tables::AUTH_GRAPH, &room_key(reader.room, key.as_bytes()));
    Ok(page(reader, &mut rows, key, after, limit)?.1)
}

/// From a scan that covers an event's rows: its own, unless only those that follow `after` are wanted, and the next `limit` of those that cite it.
fn page(
    reader: &RoomReader,
    rows: &mut Scan<'_>,
    key: EventKey,
    after: Option<EventKey>,
    limit: usize,
) -> Result<(Option<Links>, Vec<Citing>)> {
    let prefix = room_key(reader.room, key.as_bytes());
    let mut start = prefix.clone();
    if let Some(after) = after {
        start.extend_from_slice(after.as_bytes());
        // The least key that is greater.
        start.push(0);
    }
    rows.seek(&start);
    let mut links = None;
    let mut found = Vec::with_capacity(limit.min(8));
    while found.len() < limit {
        let next = rows.next_with(|row, value| match row.strip_prefix(&prefix[..]) {
            Some([]) => decode(value).map(|own| Some(Row::Own(own))),
            Some(citing) => decode_citing(citing, value).map(|citing| Some(Row::Citing(citing))),
            None => Some(None),
        });
        let Some(row) = next.transpose()? else { break };
        match row.ok_or_else(|| damaged("AUTH_GRAPH"))? {
            Some(Row::Own(own)) => links = Some(own),
            Some(Row::Citing(citing)) => found.push(citing),
            None => break,
        }
    }
    let new = reader
        .new_links
        .iter()
        .filter(|(citing, links)| links.auth_events.contains(&key) && after.is_none_or(|after| **citing > after));
    let stored = found.len();
    found.extend(new.filter_map(|(event, links)| Some(Citing { event: *event, place: links.place? })));
    if found.len() > stored {
        found.sort_unstable();
        found.dedup();
        found.truncate(limit);
    }
    Ok((links, found))
}

/// A row of `AUTH_GRAPH`.
enum Row {
    /// What an event cites.
    Own(Links),
    /// An event that cites it.
    Citing(Citing),
}

/// The row of a state event.
fn row(reader: &RoomReader, key: EventKey) -> Result<Option<Links>> {
    if let Some(links) = reader.new_links.get(&key) {
        return Ok(Some(links.clone()));
    }
    let row = room_key(reader.room, key.as_bytes());
    let links = reader.snapshot.get_with(tables::AUTH_GRAPH, &row, |bytes| bytes.map(decode))?;
    links.map(|links| links.ok_or_else(|| damaged("AUTH_GRAPH"))).transpose()
}

/// An event's own row of `AUTH_GRAPH`: the generation and one, as LEB128 (0 for none); the place (16 bytes); the auth events (16 each).
fn encode(links: &Links) -> Vec<u8> {
    let mut row = Vec::with_capacity(4 + KEY + KEY * links.auth_events.len());
    let mut generation = links.generation.map_or(0, |generation| generation.saturating_add(1));
    while generation >= 0x80 {
        row.push(generation as u8 | 0x80);
        generation >>= 7;
    }
    row.push(generation as u8);
    if let Some(place) = &links.place {
        row.extend_from_slice(place.as_bytes());
    }
    for cited in &links.auth_events {
        row.extend_from_slice(cited.as_bytes());
    }
    row
}

/// The end of the key of a row that says what cites an event, and the row's value.
fn decode_citing(citing: &[u8], place: &[u8]) -> Option<Citing> {
    let event = EventKey::from_bytes(citing.try_into().ok()?);
    Some(Citing { event, place: StateKeyId::from_bytes(place.try_into().ok()?) })
}

fn decode(bytes: &[u8]) -> Option<Links> {
    let mut generation = 0_u64;
    let mut rest = bytes;
    for shift in (0..64).step_by(7) {
        let (byte, more) = rest.split_first()?;
        rest = more;
        generation |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let (keys, []) = rest.as_chunks::<KEY>() else { return None };
            let (place, cited) = keys.split_first()?;
            return Some(Links {
                place: Some(StateKeyId::from_bytes(*place)),
                auth_events: cited.iter().map(|key| EventKey::from_bytes(*key)).collect(),
                generation: generation.checked_sub(1),
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use state_res::pdu::MAX_AUTH_EVENTS;

    #[test]
    fn rows_are_read_as_written() {
        for generation in [None, Some(0), Some(126), Some(127), Some(1 << 40)] {
            for cited in [0, 1, MAX_AUTH_EVENTS] {
                let links = Links {
                    place: Some(StateKeyId::of("m.room.member", "@a:b")),
                    auth_events: (0..cited).map(|number| EventKey::of(&format!("${number}"))).collect(),
                    generation,
                };
                let row = encode(&links);
                assert_eq!(decode(&row), Some(links));
                assert_eq!(decode(&row[..row.len() - 1]), None);
            }
        }
        assert_eq!(decode(&[]), None);
        let (event, place) = (EventKey::of("$a"), StateKeyId::of("m.room.member", "@a:b"));
        assert_eq!(decode_citing(event.as_bytes(), place.as_bytes()), Some(Citing { event, place }));
        assert_eq!(decode_citing(event.as_bytes(), &[0; 15]), None);
        assert_eq!(decode(&[0x80; 40]), None);
    }
}
