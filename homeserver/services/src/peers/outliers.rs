//! Events without a place in the graph here: auth events and states that other servers tell us of.

use super::Peers;
use super::judge::is_spoilt;
use super::switches::{ReceiptCheck, on};
use crate::error::{Error, Result};
use crate::rooms::reader::room_key;
use crate::rooms::redaction::{self, Place};
use crate::rooms::standing::Standing;
use crate::rooms::sweep::{Patience, guard_outliers};
use crate::rooms::{RoomReader, auth_graph};
use crate::tables;
use state_res::auth::{self, Cited, Refusal};
use state_res::ids::EventKey;
use state_res::pdu::Pdu;
use state_res::steps::Checked;
use std::collections::{BTreeMap, HashMap, HashSet};
use storage::{Batch, Outcome};

/// Bytes of events in one batch ("bulk work goes in steps").
const STEP: usize = 256 * 1024;
/// What an event costs in a batch beside its text.
const ROW_OVERHEAD: usize = 256;
/// How often a batch is made again because somebody else stored one of its events.
const MAX_TRIES: usize = 8;

/// The auth events of an event, from memory or the store; `None` if one is missing. From version 12 on the create event is not among them but
/// must be there like them: without it nothing can be said of the event.
pub(super) fn auth_events_of(
    reader: &RoomReader,
    fresh: &HashMap<EventKey, (Pdu, bool)>,
    event: &Pdu,
) -> Result<Option<Vec<(Pdu, bool)>>> {
    let mut found = Vec::with_capacity(event.auth_events().len());
    for id in event.auth_events() {
        let key = EventKey::of(id);
        match known(reader, fresh, key)? {
            Some(known) => found.push(known),
            None => return Ok(None),
        }
    }
    match create_by_room_id(event) {
        Some(create) if known(reader, fresh, create)?.is_none() => Ok(None),
        _ => Ok(Some(found)),
    }
}

/// The create event that an event need not cite, since the room's id names it.
fn create_by_room_id(event: &Pdu) -> Option<EventKey> {
    let is_named = event.version().rules().create_event_is_room_id && event.event_type() != "m.room.create";
    is_named.then(|| EventKey::of(&format!("${}", event.room_id().trim_start_matches('!'))))
}

fn known(reader: &RoomReader, fresh: &HashMap<EventKey, (Pdu, bool)>, key: EventKey) -> Result<Option<(Pdu, bool)>> {
    if let Some(known) = fresh.get(&key) {
        return Ok(Some(known.clone()));
    }
    let Some(pdu) = reader.pdu(key)? else { return Ok(None) };
    let rejected = reader.standing(key)?.is_some_and(|standing| standing.is_rejected());
    Ok(Some((pdu, rejected)))
}

/// Check 4 on receipt of a PDU: the authorisation rules, given the event's own auth events.
pub(super) fn check_by_auth_events(
    reader: &RoomReader,
    fresh: &HashMap<EventKey, (Pdu, bool)>,
    event: &Pdu,
    cited: &[(Pdu, bool)],
) -> Result<std::result::Result<(), Refusal>> {
    if !on(ReceiptCheck::AuthEvents) {
        return Ok(Ok(()));
    }
    let create = create_by_room_id(event).map(|create| known(reader, fresh, create)).transpose()?.flatten();
    let views: Vec<Cited<'_>> = cited.iter().map(|(event, rejected)| Cited { event, rejected: *rejected }).collect();
    let create_view = create.as_ref().map(|(event, rejected)| Cited { event, rejected: *rejected });
    if let Err(refusal) = auth::check_auth_events(event, &views, create_view) {
        return Ok(Err(refusal));
    }
    let mut state: Vec<Pdu> = cited.iter().map(|(event, _)| event.clone()).collect();
    state.extend(create.map(|(event, _)| event));
    Ok(auth::check(event, &state))
}

impl Peers {
    /// Stores events as outliers, each authorised by its auth events (or marked rejected); those whose auth events are not among them
    /// and not stored are left out. Gives what is known afterwards of all of them: the event, and whether it is rejected. Those that are so only
    /// because a copy has lost its content, their own or one that they rest on, are not stored.
    pub(super) async fn store_outliers(
        &self,
        room_id: &str,
        events: Vec<Checked>,
    ) -> Result<HashMap<EventKey, (Pdu, bool)>> {
        let reader = self.rooms.reader(state_res::ids::RoomKey::of(room_id));
        let mut fresh: HashMap<EventKey, (Pdu, bool)> = HashMap::new();
        let mut known_before: HashMap<EventKey, (Pdu, bool)> = HashMap::new();
        let mut waiting: BTreeMap<EventKey, Pdu> = BTreeMap::new();
        for event in events {
            let pdu = event.into_event();
            match known(&reader, &HashMap::new(), pdu.key())? {
                Some(known) => {
                    known_before.insert(pdu.key(), known);
                }
                None => {
                    waiting.insert(pdu.key(), pdu);
                }
            }
        }
        let mut order: Vec<EventKey> = Vec::with_capacity(waiting.len());
        let mut doubtful: HashSet<EventKey> = HashSet::new();
        for event in in_auth_order(&waiting) {
            let Some(pdu) = waiting.get(&event) else { continue };
            let Some(cited) = auth_events_of(&reader, &fresh, pdu)? else {
                tracing::debug!(event = pdu.event_id(), "left out: its auth events are missing");
                continue;
            };
            let verdict = check_by_auth_events(&reader, &fresh, pdu, &cited)?;
            fresh.insert(event, (pdu.clone(), verdict.is_err()));
            if let Err(refusal) = verdict {
                let mut is_doubtful = is_spoilt(&reader, pdu)?;
                for (cited, _) in &cited {
                    is_doubtful |= doubtful.contains(&cited.key()) || is_spoilt(&reader, cited)?;
                }
                if is_doubtful {
                    tracing::info!(event = pdu.event_id(), %refusal, "left out: a copy without content is not allowed");
                    doubtful.insert(event);
                    continue;
                }
                tracing::info!(event = pdu.event_id(), %refusal, "rejected by its auth events");
            }
            order.push(event);
        }
        let mut step: Vec<EventKey> = Vec::new();
        let mut bytes = 0;
        for key in order {
            bytes += fresh.get(&key).map_or(0, |(pdu, _)| pdu.canonical().len() + ROW_OVERHEAD);
            step.push(key);
            if bytes >= STEP {
                self.commit_outliers(room_id, &fresh, std::mem::take(&mut step)).await?;
                bytes = 0;
            }
        }
        self.commit_outliers(room_id, &fresh, step).await?;
        fresh.extend(known_before);
        Ok(fresh)
    }

    /// Stores those of `step` that are still unknown. Somebody else may store or place one of them meanwhile, which must not be undone: then
    /// the batch conflicts, and is made again without it.
    async fn commit_outliers(
        &self,
        room_id: &str,
        fresh: &HashMap<EventKey, (Pdu, bool)>,
        step: Vec<EventKey>,
    ) -> Result<()> {
        let mut patience = Patience::new();
        for _ in 0..MAX_TRIES {
            let mut reader = self.rooms.reader(state_res::ids::RoomKey::of(room_id));
            let mut batch = Batch::with_random_id(self.world());
            for key in &step {
                let Some((pdu, rejected)) = fresh.get(key) else { continue };
                if reader.standing(*key)?.is_some() {
                    continue;
                }
                let stored = redaction::to_be_stored(&reader, pdu, Place::Anywhere)?;
                let row = room_key(reader.room(), key.as_bytes());
                batch.require_absent(tables::STANDING, &row);
                batch.put(tables::PDUS, key.as_bytes(), stored.bytes());
                auth_graph::index(&mut batch, &mut reader, pdu)?;
                let standing = Standing::outlier(pdu.depth(), *rejected);
                batch.put(tables::STANDING, &row, &standing.encode());
            }
            if batch.is_empty() {
                return Ok(());
            }
            let outliers = step.iter().filter_map(|key| fresh.get(key)).map(|(pdu, _)| pdu);
            if let Err(error) = guard_outliers(&reader, outliers, &mut batch) {
                patience.wait(self.world(), error).await?;
                continue;
            }
            match self.rooms.deps().store.commit(batch).await {
                Outcome::Committed(_) => return Ok(()),
                Outcome::Conflict(_) => {}
                Outcome::Unknown(cause) => return Err(cause.into()),
            }
        }
        Err(Error::internal("others keep storing the same events"))
    }

    pub(super) async fn commit(&self, batch: Batch) -> Result<()> {
        match self.rooms.deps().store.commit(batch).await {
            Outcome::Committed(_) => Ok(()),
            Outcome::Conflict(at) => Err(Error::internal(format!("an unexpected conflict in table {}", at.table.name))),
            Outcome::Unknown(cause) => Err(cause.into()),
        }
    }
}

/// Events such that each comes after those of its auth events that are among them. Cycles cannot be, as ids are hashes; where old
/// versions claim one, its events come last and fail for want of auth events.
fn in_auth_order(events: &BTreeMap<EventKey, Pdu>) -> Vec<EventKey> {
    let mut order = order_by(events, |pdu| pdu.auth_events());
    // Which cites nothing, and which others need without citing it.
    order.sort_by_key(|event| events.get(event).is_none_or(|event| event.event_type() != "m.room.create"));
    order
}

/// Events such that each comes after those that `before` names for it and that are among them.
pub(super) fn order_by(events: &BTreeMap<EventKey, Pdu>, before: impl Fn(&Pdu) -> &[String]) -> Vec<EventKey> {
    let mut missing: HashMap<EventKey, usize> = HashMap::new();
    let mut after: HashMap<EventKey, Vec<EventKey>> = HashMap::new();
    for (key, pdu) in events {
        let mut count = 0;
        for id in before(pdu) {
            let earlier = EventKey::of(id);
            if earlier != *key && events.contains_key(&earlier) {
                after.entry(earlier).or_default().push(*key);
                count += 1;
            }
        }
        missing.insert(*key, count);
    }
    let place = |key: &EventKey| events.get(key).map_or((0, 0), |pdu| (pdu.depth(), pdu.origin_server_ts()));
    let mut ready: std::collections::BTreeSet<((i64, i64), EventKey)> =
        missing.iter().filter(|(_, count)| **count == 0).map(|(key, _)| (place(key), *key)).collect();
    let mut order = Vec::with_capacity(events.len());
    while let Some((_, key)) = ready.pop_first() {
        order.push(key);
        for later in after.remove(&key).unwrap_or_default() {
            if let Some(count) = missing.get_mut(&later) {
                *count -= 1;
                if *count == 0 {
                    ready.insert((place(&later), later));
                }
            }
        }
    }
    order
}
