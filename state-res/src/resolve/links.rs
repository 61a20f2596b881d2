//! An event's place in the graph of auth events.

use crate::{
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
};

/// An event's place in the graph of auth events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// Where in a state it belongs; `None` for a message.
    pub place: Option<StateKeyId>,
    /// The events that it names in `auth_events`.
    pub auth_events: Vec<EventKey>,
    /// The length of the longest way down from it along `auth_events`, as [`Links::generation_above`] computes it. `None`, which
    /// only makes a resolution slower, unless the events of all ways down are known.
    pub generation: Option<u64>,
}

/// A state event that cites another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Citing {
    /// Which.
    pub event: EventKey,
    /// Where in a state it belongs.
    pub place: StateKeyId,
}

/// What lies next to an event in the graph of auth events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Around {
    /// Its own place, with what it cites; `None` if there is no such event.
    pub links: Option<Links>,
    /// The first of the state events that cite it; `None` if the store keeps no index of these.
    pub citing: Option<Vec<Citing>>,
}

impl Links {
    /// What an event says itself, which is all but the generation.
    #[must_use]
    pub fn of(event: &Pdu) -> Self {
        Links {
            place: event.state_key().map(|state_key| StateKeyId::of(event.event_type(), state_key)),
            auth_events: event.auth_events().iter().map(|id| EventKey::of(id)).collect(),
            generation: None,
        }
    }

    /// The generation of an event whose auth events have these: one more than the greatest, 0 if there are none. `None` if
    /// one of them is not known. So the generation does not depend on when events arrive, once it is known, and events that cite
    /// each other in a circle, or something missing, have none.
    #[must_use]
    pub fn generation_above(auth_events: impl IntoIterator<Item = Option<u64>>) -> Option<u64> {
        auth_events.into_iter().try_fold(0, |generation, cited| Some(generation.max(cited? + 1)))
    }
}
