//! `causeway-state auth`.

use std::{cell::RefCell, collections::BTreeMap};

use serde_json::{Value, json};
use state_res::{
    auth::{self, Cited, Refusal, StateLookup},
    ids::EventKey,
    pdu::Pdu,
};

use crate::{
    failure::Failure,
    input::{self, MAX_FILE_BYTES, Source, shown},
    keys::Keys,
    room::{Room, States},
    standing::state_of,
};

/// Whether an event is authorised by its own auth events, and by the resolution of the file's states.
pub(crate) fn run(file: &str, event_id: &str, keys: Option<&str>) -> Result<String, Failure> {
    let keys = keys.map(Keys::read).transpose()?;
    let bytes = input::read(file, MAX_FILE_BYTES)?;
    let room = Room::read(Source::new(file, &bytes)?, keys.as_ref(), States::Needed)?;
    let Some(index) = room.find(EventKey::of(event_id)) else {
        return Err(Failure::of_file(file, format!("{} is not among the events", shown(event_id))).within("events"));
    };
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
    if let Err(refusal) = auth::check_auth_events(event, &list, create.map(standing).transpose()?) {
        let looked_at = cited.iter().copied().chain(create).map(|at| room.events[at].pdu.event_id().to_owned());
        return Ok(refused(&refusal, &unique(looked_at)));
    }
    Ok(decide(event, &state_of(room, &cited, create)))
}

fn by_state(room: &Room<'_>, index: usize) -> Result<Value, Failure> {
    let resolved: BTreeMap<(String, String), Pdu> =
        room.resolve()?.into_iter().map(|(place, at)| (place, room.events[at].pdu.clone())).collect();
    Ok(decide(&room.events[index].pdu, &resolved))
}

/// The decision about an event in a state.
fn decide(event: &Pdu, state: &dyn StateLookup) -> Value {
    let observed = Observed { state, found: RefCell::new(Vec::new()) };
    let decision = auth::decide(event, &observed);
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
