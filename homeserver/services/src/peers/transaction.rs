//! What happens to one incoming transaction: which events are taken in which order, and what waits for what.

use super::Peers;
use super::answers::PeerAnswers;
use crate::error::{Error, Result};
use federation::types::{PduResult, TransactionAnswer};
use federation::{Edu, RawJson};
use futures::FutureExt;
use futures::future::{join, join_all};
use serde::Deserialize;
use state_res::pdu::{Pdu, PduError};
use state_res::room_version::RoomVersion;
use state_res::steps::Received;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a transaction's answer waits for the events of a room, less than senders wait for the answer. What a room is waiting for then is
/// waited for without them: the next transaction can come.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long EDUs about devices wait for the events that came with them: it may take those to know the users. Others wait for all events.
const EDU_PATIENCE: Duration = Duration::from_secs(2);

/// What an event in a transaction must say before its room is known.
#[derive(Deserialize)]
struct Envelope {
    room_id: Option<String>,
    event_id: Option<String>,
}

/// An event of a transaction.
struct Incoming {
    json: RawJson,
    /// Under which the answer speaks of it, where that is known.
    id: Option<String>,
    /// The event, where we know its room.
    event: Option<Result<Received, PduError>>,
}

impl Incoming {
    /// The room that an event says it belongs to; `None` if it says none.
    fn room_of(json: &RawJson) -> Option<String> {
        json.parse::<Envelope>().ok()?.room_id
    }

    /// Reads an event of a room, of which we know the `version` if we know the room.
    fn read(json: RawJson, version: Option<RoomVersion>) -> Self {
        let event = version.map(|version| Received::parse(version, json.as_bytes()));
        let id = match (&event, version) {
            (Some(Ok(event)), _) => Some(event.event().event_id().to_owned()),
            (Some(Err(_)), Some(version)) => Pdu::id_of_refused(version, json.as_bytes()),
            _ => json.parse::<Envelope>().ok().and_then(|envelope| envelope.event_id),
        };
        Self { json, id, event }
    }

    /// The event, if it is one and we know its room.
    fn received(&self) -> Option<&Received> {
        self.event.as_ref()?.as_ref().ok()
    }

    fn valid(&self) -> Option<&Pdu> {
        self.received().map(Received::event)
    }
}

impl PeerAnswers {
    /// Takes a transaction. What the events of one room wait for (keys, a missing event, a state) holds up neither those of other rooms nor, for
    /// long, keys and messages to devices.
    ///
    /// # Errors
    /// 500 where the whole transaction has to come again.
    pub(super) async fn take_transaction(
        &self,
        origin: &str,
        pdus: Vec<RawJson>,
        edus: Vec<Edu>,
    ) -> Result<TransactionAnswer> {
        let mut rooms: BTreeMap<String, Vec<RawJson>> = BTreeMap::new();
        let mut without_room = 0_usize;
        for json in pdus {
            match Incoming::room_of(&json) {
                Some(room_id) => rooms.entry(room_id).or_default().push(json),
                None => without_room += 1,
            }
        }
        if without_room > 0 {
            // Without a room there is no room version, and without that no event id under which to say so.
            tracing::info!(%origin, events = without_room, "passed over events that name no room");
        }
        let world = self.peers.world();
        let rooms = rooms.into_iter().map(async |(room_id, events)| {
            let (peers, origin) = (self.peers.clone(), origin.to_owned());
            let taken = async move { peers.take_events(&origin, &room_id, events).await };
            world.timeout(PATIENCE, world.see_through("events of a room", taken)).await
        });
        let done = Notify::new();
        let events = join_all(rooms).inspect(|_| done.notify_one());
        let of_devices =
            |edu: &Edu| matches!(edu, Edu::DirectToDevice(_) | Edu::DeviceListUpdate(_) | Edu::SigningKeyUpdate(_));
        let (of_devices, of_rooms): (Vec<Edu>, Vec<Edu>) = edus.into_iter().partition(of_devices);
        let edus = async {
            if !of_devices.is_empty() {
                let _ = world.timeout(EDU_PATIENCE, done.notified()).await;
            }
            self.take_edus(origin, of_devices).await
        };
        let (events, of_devices) = join(events, edus).await;
        // Typing and receipts may speak of the events, or of who has come by them.
        let edus = of_devices.and(self.take_edus(origin, of_rooms).await);
        let mut answer = TransactionAnswer::default();
        for results in events {
            match results {
                Ok(results) => answer.pdus.extend(results?),
                // If it comes to nothing, they are asked for when others name them.
                Err(_) => tracing::info!(%origin, "events of a transaction are still waited for"),
            }
        }
        edus.map(|()| answer)
    }

    /// Takes the EDUs of a transaction, one after the other.
    ///
    /// # Errors
    /// The first 500 of them. Those after it count all the same: what fails may fail each time.
    async fn take_edus(&self, origin: &str, edus: Vec<Edu>) -> Result<()> {
        let mut failure = None;
        for edu in edus {
            let kind = edu.edu_type();
            match self.take_edu(origin, edu).await {
                Err(error) if error.status >= 500 => failure = failure.or(Some(error)),
                Err(error) => tracing::info!(%origin, kind, %error, "refused an EDU"),
                Ok(()) => {}
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

impl Peers {
    /// Takes events of one room. Gives what became of each that has an id.
    async fn take_events(&self, origin: &str, room_id: &str, events: Vec<RawJson>) -> Result<Vec<(String, PduResult)>> {
        self.wait_for_join(room_id).await?;
        let version = self.rooms.version(room_id)?;
        let events: Vec<_> = events.into_iter().map(|json| Incoming::read(json, version)).collect();
        if events.len() > 1 && self.shared(origin, room_id).is_ok() {
            self.fetch_keys_of(events.iter().filter_map(Incoming::received)).await;
        }
        let mut results = Vec::with_capacity(events.len());
        for Incoming { json, mut id, event } in parents_first(events) {
            let result = match (self.shared(origin, room_id), event) {
                (Err(error), _) if error.status >= 500 => return Err(error),
                (Err(error), _) if error.status == 404 => {
                    let ended = self.on_end_of_invite(origin, room_id, json.as_bytes()).await;
                    ended.map(|event_id| id = Some(event_id))
                }
                (Err(error), _) => Err(error.message),
                (Ok(_), Some(Ok(event))) => self.receive(origin, room_id, event).await,
                (Ok(_), Some(Err(error))) => Err(error.to_string()),
                (Ok(_), None) => Err(format!("this server has only just come to know the room {room_id}")),
            };
            if result.is_err()
                && let Some(why) = self.rooms.deps().store.stopped()
            {
                // What is answered per event counts as taken. The whole transaction has to come again.
                return Err(Error::internal(format!("the store takes no writes: {why}")));
            }
            let result = match result {
                Ok(()) => PduResult::handled(),
                Err(because) => {
                    tracing::info!(%origin, room = %room_id, event = id.as_deref().unwrap_or("?"), %because, "refused an event");
                    PduResult::refused(because)
                }
            };
            results.extend(id.map(|id| (id, result)));
        }
        Ok(results)
    }
}

/// The events of a room such that each comes after those that it names, and otherwise as they came: what one names need not be asked
/// for where it comes later in the same transaction. Ids can name each other in a circle in room versions 1 and 2; such events come last.
fn parents_first(events: Vec<Incoming>) -> Vec<Incoming> {
    let by_id: HashMap<&str, usize> =
        events.iter().enumerate().filter_map(|(index, event)| Some((event.valid()?.event_id(), index))).collect();
    let mut waits_for = vec![0_usize; events.len()];
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); events.len()];
    for (index, event) in events.iter().enumerate() {
        let Some(pdu) = event.valid() else { continue };
        for id in pdu.prev_events().iter().chain(pdu.auth_events()) {
            if let Some(&parent) = by_id.get(id.as_str()).filter(|parent| **parent != index) {
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
