//! The events of one incoming transaction: what each is, and in which order they are taken.

use federation::RawJson;
use serde::Deserialize;
use state_res::pdu::{Pdu, PduError};
use state_res::room_version::RoomVersion;
use state_res::steps::Received;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// What an event in a transaction must say before its room is known.
#[derive(Deserialize)]
struct Envelope {
    room_id: Option<String>,
    event_id: Option<String>,
}

/// An event of a transaction.
pub(super) struct Incoming {
    pub(super) room_id: String,
    pub(super) json: RawJson,
    /// Under which the answer speaks of it, where that is known.
    pub(super) id: Option<String>,
    /// The event, where we know its room.
    pub(super) event: Option<Result<Received, PduError>>,
}

impl Incoming {
    /// The room that an event says it belongs to; `None` if it says none.
    pub(super) fn room_of(json: &RawJson) -> Option<String> {
        json.parse::<Envelope>().ok()?.room_id
    }

    /// Reads an event of a room, of which we know the `version` if we know the room.
    pub(super) fn read(room_id: String, json: RawJson, version: Option<RoomVersion>) -> Self {
        let event = version.map(|version| Received::parse(version, json.as_bytes()));
        let id = match (&event, version) {
            (Some(Ok(event)), _) => Some(event.event().event_id().to_owned()),
            (Some(Err(_)), Some(version)) => Pdu::id_of_refused(version, json.as_bytes()),
            _ => json.parse::<Envelope>().ok().and_then(|envelope| envelope.event_id),
        };
        Self { room_id, json, id, event }
    }

    /// The event, if it is one and we know its room.
    pub(super) fn received(&self) -> Option<&Received> {
        self.event.as_ref()?.as_ref().ok()
    }

    fn valid(&self) -> Option<&Pdu> {
        self.received().map(Received::event)
    }
}

/// The events such that each comes after those of the same room that it names, and otherwise as they came: what one names need not be asked
/// for where it comes later in the same transaction. Ids can name each other in a circle in room versions 1 and 2; such events come last.
pub(super) fn parents_first(events: Vec<Incoming>) -> Vec<Incoming> {
    let by_id: HashMap<(&str, &str), usize> = events
        .iter()
        .enumerate()
        .filter_map(|(index, event)| Some(((event.room_id.as_str(), event.valid()?.event_id()), index)))
        .collect();
    let mut waits_for = vec![0_usize; events.len()];
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); events.len()];
    for (index, event) in events.iter().enumerate() {
        let Some(pdu) = event.valid() else { continue };
        for id in pdu.prev_events().iter().chain(pdu.auth_events()) {
            if let Some(&parent) = by_id.get(&(event.room_id.as_str(), id.as_str())).filter(|parent| **parent != index)
            {
                waits_for[index] += 1;
                children[parent].push(index);
            }
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        waits_for.iter().enumerate().filter(|(_, count)| **count == 0).map(|(index, _)| Reverse(index)).collect();
    let mut order = Vec::with_capacity(events.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &child in &children[index] {
            waits_for[child] -= 1;
            if waits_for[child] == 0 {
                ready.push(Reverse(child));
            }
        }
    }
    order.extend((0..events.len()).filter(|index| waits_for[*index] > 0));
    let mut events: Vec<Option<Incoming>> = events.into_iter().map(Some).collect();
    order.into_iter().filter_map(|index| events[index].take()).collect()
}
