//! `causeway-state auth`.

use std::{cell::RefCell, collections::BTreeMap};

use serde_json::{Value, json};
use state_res::{
    auth::{Cited, Refusal, StateLookup, check_auth_events},
    ids::EventKey,
    pdu::Pdu,
};

use crate::{
    failure::Failure,
    input::{self, MAX_FILE_BYTES, Source},
    keys::Keys,
    room::{Event, Room, States},
    standing::{self, state_of},
};

/// Whether an event is authorised by its own auth events, and by the resolution of the file's states.
pub(crate) fn run(file: &str, event_id: &str, keys: Option<&str>) -> Result<String, Failure> {
    let keys = keys.map(Keys::read).transpose()?;
    let bytes = input::read(file, MAX_FILE_BYTES)?;
    let room = Room::read(Source::new(file, &bytes)?, keys.as_ref(), States::Needed)?;
    let index = room.find(EventKey::of(event_id)).ok_or_else(|| room.lacks(event_id))?;
    let answer = json!({ "by_auth_events": by_auth_events(&room, index)?, "by_state": by_state(&room, index)? });
    Ok(format!("{answer:#}"))
}

fn by_auth_events(room: &Room<'_>, index: usize) -> Result<Value, Failure> {
    let event = &room.events[index].pdu;
    let cited = room.auth_events_of(index)?;
    let create = room.create_by_room_id(event).filter(|create| *create != index);
    // In a cycle an event waits for itself.
    let standing = |at: usize| Ok(Cited { event: &room.events[at].pdu, rejected: room.is_rejected(at)? });
    let list = cited.iter().map(|at| standing(*at)).collect::<Result<Vec<_>, Failure>>()?;
    if let Err(refusal) = check_auth_events(event, &list, create.map(standing).transpose()?) {
        let looked_at = cited.iter().copied().chain(create).map(|at| room.events[at].pdu.event_id().to_owned());
        return Ok(refused(&refusal, &unique(looked_at)));
    }
    Ok(decide(&room.events[index], &state_of(room, &cited, create)))
}

/// The resolved state has nothing to do with the list of the event's auth events; but it must be a state of the event's room.
fn by_state(room: &Room<'_>, index: usize) -> Result<Value, Failure> {
    let event = &room.events[index];
    let resolved: BTreeMap<(String, String), Pdu> =
        room.resolve()?.into_iter().map(|(place, at)| (place, room.events[at].pdu.clone())).collect();
    let of_other_room =
        match (room.create_by_room_id(&event.pdu), resolved.get(&("m.room.create".to_owned(), String::new()))) {
            // 12: rule 2, by which the room's create event must have been accepted.
            (Some(create), _) => {
                let cited = Cited { event: &room.events[create].pdu, rejected: room.is_rejected(create)? };
                check_auth_events(&event.pdu, &[], Some(cited)).err().map(|refusal| (refusal, cited.event.event_id()))
            }
            // 1 to 11: rule 2.5, were the create event among the auth events.
            (None, Some(create)) if event.pdu.version().rules().auth.create_in_auth_events => {
                let cited = Cited { event: create, rejected: false };
                check_auth_events(&event.pdu, &[cited], None).err().map(|refusal| (refusal, create.event_id()))
            }
            (None, _) => None,
        };
    Ok(match of_other_room {
        Some((refusal, create)) => refused(&refusal, &[create.to_owned()]),
        None => decide(event, &resolved),
    })
}

/// The decision about an event in a state.
fn decide(event: &Event<'_>, state: &dyn StateLookup) -> Value {
    let observed = Observed { state, found: RefCell::new(Vec::new()) };
    let decision = standing::decide(event, &observed);
    let looked_at = unique(observed.found.into_inner());
    match decision {
        Ok(allowed) => json!({
            "allowed": true,
            "rule": allowed.rule,
            "because": allowed.says,
            "deciding_events": looked_at,
        }),
        Err(refusal) => refused(&refusal, &looked_at),
    }
}

fn refused(refusal: &Refusal, looked_at: &[String]) -> Value {
    json!({
        "allowed": false,
        "rule": refusal.rule,
        "because": refusal.because,
        "deciding_events": looked_at,
    })
}

/// Each once, where it first is.
fn unique(ids: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut unique: Vec<String> = Vec::new();
    for id in ids {
        if !unique.contains(&id) {
            unique.push(id);
        }
    }
    unique
}

/// A state that remembers which of its events were looked at.
struct Observed<'a> {
    state: &'a dyn StateLookup,
    found: RefCell<Vec<String>>,
}

impl StateLookup for Observed<'_> {
    fn get(&self, event_type: &str, state_key: &str) -> Option<Pdu> {
        let event = self.state.get(event_type, state_key)?;
        self.found.borrow_mut().push(event.event_id().to_owned());
        Some(event)
    }
}
