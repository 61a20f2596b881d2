//! Which events of a file were rejected.
//!
//! A server rejects an event that its own auth events, or the state before it, do not allow. What the state before an event
//! was a file cannot tell in general: it has the states to be resolved and need not have all history. So here an event was
//! rejected if its own auth events do not allow it, one of them being rejected included. State resolution asks this of the
//! auth events that it falls back to, and of nothing else.

use std::{cell::RefCell, rc::Rc};

use state_res::{
    auth::{self, Allowed, Cited, Refusal, StateLookup, rule_numbers},
    pdu::Pdu,
    room_version::RoomVersion,
};

use crate::{
    failure::Failure,
    room::{Event, Room},
};

/// What is known of each event so far.
pub(crate) struct Standings(RefCell<Vec<Standing>>);

#[derive(Clone)]
enum Standing {
    Unknown,
    /// Its auth events are being looked at.
    Underway,
    Known(Option<Rc<Refusal>>),
    /// An event that it depends on is not in the file.
    Untold(Rc<Failure>),
}

impl Standings {
    pub(crate) fn new(events: usize) -> Self {
        Standings(RefCell::new(vec![Standing::Unknown; events]))
    }

    /// The rule by which an event was rejected, if it was.
    ///
    /// Auth events form a cycle only in room versions 1 and 2, where senders choose event ids. No event of a cycle can ever
    /// have been accepted, since each waits for another; all of them are rejected.
    pub(crate) fn refusal(&self, room: &Room<'_>, index: usize) -> Result<Option<Rc<Refusal>>, Failure> {
        let mut stack = vec![index];
        while let Some(&at) = stack.last() {
            if let Standing::Known(_) | Standing::Untold(_) = self.get(at) {
                stack.pop();
                continue;
            }
            let is_create = room.events[at].pdu.event_type() == "m.room.create";
            let cited = if is_create { Ok(Vec::new()) } else { room.auth_events_of(at) };
            let mut waits_for = match cited {
                Ok(cited) => cited,
                Err(failure) => {
                    self.set(at, Standing::Untold(Rc::new(failure)));
                    stack.pop();
                    continue;
                }
            };
            waits_for.extend(room.create_by_room_id(&room.events[at].pdu).filter(|create| *create != at));
            let before = stack.len();
            if let Standing::Unknown = self.get(at) {
                self.set(at, Standing::Underway);
                stack.extend(waits_for.iter().filter(|cited| matches!(self.get(**cited), Standing::Unknown)));
            }
            if stack.len() == before {
                let untold = waits_for.iter().find_map(|cited| match self.get(*cited) {
                    Standing::Untold(failure) => Some(failure),
                    Standing::Unknown | Standing::Underway | Standing::Known(_) => None,
                });
                let standing = match untold {
                    Some(failure) => Standing::Untold(failure),
                    None => Standing::Known(self.judge(room, at)?.map(Rc::new)),
                };
                self.set(at, standing);
                stack.pop();
            }
        }
        match self.get(index) {
            Standing::Known(refusal) => Ok(refusal),
            Standing::Untold(failure) => Err(Failure::clone(&failure)),
            Standing::Unknown | Standing::Underway => Ok(None),
        }
    }

    /// Judges an event whose auth events are known, but for those of a cycle.
    fn judge(&self, room: &Room<'_>, index: usize) -> Result<Option<Refusal>, Failure> {
        let event = &room.events[index].pdu;
        if event.event_type() == "m.room.create" {
            return Ok(auth::check(event, &Vec::new()).err());
        }
        let event = &room.events[index];
        let cited = room.auth_events_of(index)?;
        let rejected = |index: &usize| !matches!(self.get(*index), Standing::Known(None));
        let create = room.create_by_room_id(&event.pdu);
        Ok(by_auth_events(room, event, &cited, create, rejected))
    }

    fn get(&self, index: usize) -> Standing {
        self.0.borrow().get(index).cloned().unwrap_or(Standing::Unknown)
    }

    fn set(&self, index: usize, standing: Standing) {
        if let Some(slot) = self.0.borrow_mut().get_mut(index) {
            *slot = standing;
        }
    }
}

/// The rule by which the events that an event cites do not allow it.
fn by_auth_events(
    room: &Room<'_>,
    event: &Event<'_>,
    cited: &[usize],
    create: Option<usize>,
    rejected: impl Fn(&usize) -> bool,
) -> Option<Refusal> {
    let as_cited = |index: &usize| Cited { event: &room.events[*index].pdu, rejected: rejected(index) };
    let list: Vec<Cited<'_>> = cited.iter().map(as_cited).collect();
    if let Err(refusal) = auth::check_auth_events(&event.pdu, &list, create.as_ref().map(as_cited)) {
        return Some(refusal);
    }
    decide(event, &state_of(room, cited, create)).err()
}

/// Which rule allows an event in a state, or which does not: of all rules but those on the list of auth events.
pub(crate) fn decide(event: &Event<'_>, state: &dyn StateLookup) -> Result<Allowed, Refusal> {
    let decision = auth::decide(&event.pdu, state);
    let Some(not_vouched) = &event.not_vouched else { return decision };
    // The first rule that rejects is the one that does.
    let version = event.pdu.version();
    match decision {
        Err(refusal) if place_of(version, refusal.rule) < place_of(version, not_vouched.rule) => Err(refusal),
        _ => Err(not_vouched.clone()),
    }
}

/// The place of a rule among those of the version.
fn place_of(version: RoomVersion, rule: &str) -> Option<usize> {
    rule_numbers(version).position(|number| number == rule)
}

/// An event's auth events as the state to check it against, with the create event where that is not among them.
pub(crate) fn state_of(room: &Room<'_>, cited: &[usize], create: Option<usize>) -> Vec<Pdu> {
    cited.iter().copied().chain(create).map(|index| room.events[index].pdu.clone()).collect()
}
