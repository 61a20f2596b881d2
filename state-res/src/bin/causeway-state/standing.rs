//! Which events of a file were rejected.
//!
//! A server rejects an event that its own auth events, or the state before it, do not allow. What the state before an event
//! was a file cannot tell in general: it has the states to be resolved and need not have all history. So here an event was
//! rejected if its own auth events do not allow it, one of them being rejected included. State resolution asks this of the
//! auth events that it falls back to, and of nothing else.

use std::{cell::RefCell, rc::Rc};

use state_res::{
    auth::{self, Cited, Refusal},
    pdu::Pdu,
};

use crate::{failure::Failure, room::Room};

/// What is known of each event so far.
pub(crate) struct Standings(RefCell<Vec<Standing>>);

#[derive(Clone)]
enum Standing {
    Unknown,
    /// Its auth events are being looked at.
    Underway,
    Known(Option<Rc<Refusal>>),
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
            if let Standing::Known(_) = self.get(at) {
                stack.pop();
                continue;
            }
            let is_create = room.events[at].pdu.event_type() == "m.room.create";
            let mut waits_for = if is_create { Vec::new() } else { room.auth_events_of(at)? };
            waits_for.extend(room.create_by_room_id(&room.events[at].pdu).filter(|create| *create != at));
            let before = stack.len();
            if let Standing::Unknown = self.get(at) {
                self.set(at, Standing::Underway);
                stack.extend(waits_for.iter().filter(|cited| matches!(self.get(**cited), Standing::Unknown)));
            }
            if stack.len() == before {
                let refusal = self.judge(room, at)?;
                self.set(at, Standing::Known(refusal.map(Rc::new)));
                stack.pop();
            }
        }
        match self.get(index) {
            Standing::Known(refusal) => Ok(refusal),
            Standing::Unknown | Standing::Underway => Ok(None),
        }
    }

    /// Judges an event whose auth events are known, but for those of a cycle.
    fn judge(&self, room: &Room<'_>, index: usize) -> Result<Option<Refusal>, Failure> {
        let event = &room.events[index].pdu;
        if event.event_type() == "m.room.create" {
            return Ok(auth::check(event, &Vec::new()).err());
        }
        let cited = room.auth_events_of(index)?;
        let rejected = |index: &usize| !matches!(self.get(*index), Standing::Known(None));
        let create = room.create_by_room_id(event);
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
    event: &Pdu,
    cited: &[usize],
    create: Option<usize>,
    rejected: impl Fn(&usize) -> bool,
) -> Option<Refusal> {
    let as_cited = |index: &usize| Cited { event: &room.events[*index].pdu, rejected: rejected(index) };
    let list: Vec<Cited<'_>> = cited.iter().map(as_cited).collect();
    if let Err(refusal) = auth::check_auth_events(event, &list, create.as_ref().map(as_cited)) {
        return Some(refusal);
    }
    auth::check(event, &state_of(room, cited, create)).err()
}

/// An event's auth events as the state to check it against, with the create event where that is not among them.
pub(crate) fn state_of(room: &Room<'_>, cited: &[usize], create: Option<usize>) -> Vec<Pdu> {
    cited.iter().copied().chain(create).map(|index| room.events[index].pdu.clone()).collect()
}
