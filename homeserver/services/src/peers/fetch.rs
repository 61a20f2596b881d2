//! Asking other servers for what an event refers to and we lack.

use super::Peers;
use super::outliers::order_by;
use crate::error::{Error, Result};
use crate::rooms::RoomReader;
use crate::rooms::sweep::{self, Epoch};
use federation::types::MissingEventsRequest;
use futures::StreamExt;
use state_res::ids::{EventKey, RoomKey, StateKeyId};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use state_res::tree::{self, Root};
use std::collections::{BTreeMap, BTreeSet};
use storage::Batch;

/// Events asked for at a time; peers give fewer if they like.
const MISSING_AT_A_TIME: u64 = 100;
/// Most events fetched to fill one gap. Beyond it, the state after the gap is taken from the peer, and clients page back.
const MAX_GAP: usize = 2_000;
/// The same, of a server that is not in the room as far as we know: what it says may be news of its join, or made up to keep us busy.
const MAX_GAP_OF_STRANGERS: usize = 100;
/// Events of a state fetched one by one; where more are missing, the whole state is asked for.
const MAX_SINGLE_FETCHES: usize = 30;
/// Requests for single events at once.
const CONCURRENT_FETCHES: usize = 8;

/// Entries of a state from which on its nodes are written in steps.
const MANY: usize = 2_000;

/// The state before an event as another server tells it.
pub(super) type State = Vec<(StateKeyId, EventKey)>;

impl Peers {
    /// Whether an event has its place in the graph here.
    pub(super) fn is_placed(reader: &RoomReader, event_id: &str) -> Result<bool> {
        Ok(reader.standing(EventKey::of(event_id))?.is_some_and(|standing| !standing.is_outlier()))
    }

    /// The events between what we know and `event`, oldest first, as far as `origin` has them. Not yet authorised.
    pub(super) async fn fill_gap(&self, origin: &str, version: RoomVersion, event: &Pdu) -> Result<Vec<Pdu>> {
        let room_id = event.room_id();
        let reader = self.rooms.reader(RoomKey::of(room_id));
        let Some(head) = reader.head()? else { return Ok(Vec::new()) };
        // Where no event before it is missing, there is no gap.
        let mut latest = Vec::new();
        for prev in event.prev_events() {
            if !Self::is_placed(&reader, prev)? {
                latest = vec![event.event_id().to_owned()];
            }
        }
        let is_stranger = !reader.has_server(origin)?;
        let most = if is_stranger { MAX_GAP_OF_STRANGERS } else { MAX_GAP };
        // Which events a room has is nothing that strangers learn from us.
        let earliest: Vec<String> =
            if is_stranger { Vec::new() } else { head.extremities.iter().map(|one| one.event_id.clone()).collect() };
        let mut found: BTreeMap<EventKey, Pdu> = BTreeMap::new();
        while !latest.is_empty() && found.len() < most {
            let request = MissingEventsRequest {
                limit: MISSING_AT_A_TIME,
                min_depth: 0,
                earliest_events: earliest.clone(),
                latest_events: latest.clone(),
            };
            let events = match self.client.missing_events(origin, room_id, &request).await {
                Ok(events) => events,
                Err(error) => {
                    tracing::info!(%origin, room = room_id, %error, "a gap cannot be filled");
                    break;
                }
            };
            let before = found.len();
            for checked in self.check_all(origin, version, room_id, events).await {
                let pdu = checked.into_event();
                if pdu.key() != event.key() && !Self::is_placed(&reader, pdu.event_id())? {
                    found.insert(pdu.key(), pdu);
                }
            }
            if found.len() == before {
                break;
            }
            let mut frontier = BTreeSet::new();
            for pdu in found.values() {
                for prev in pdu.prev_events() {
                    if !found.contains_key(&EventKey::of(prev)) && !Self::is_placed(&reader, prev)? {
                        frontier.insert(pdu.event_id().to_owned());
                    }
                }
            }
            let next: Vec<String> = frontier.into_iter().take(20).collect();
            if next == latest {
                break;
            }
            latest = next;
        }
        Ok(order_by(&found, |pdu| pdu.prev_events()).into_iter().filter_map(|key| found.remove(&key)).collect())
    }

    /// Fetches what is missing of the auth chain of `event`.
    pub(super) async fn fetch_auth_events(&self, origin: &str, version: RoomVersion, event: &Pdu) -> Result<()> {
        let events = self
            .client
            .event_auth(origin, event.room_id(), event.event_id())
            .await
            .map_err(|error| super::remote_error(&error))?;
        let checked = self.check_all(origin, version, event.room_id(), events).await;
        self.store_outliers(event.room_id(), checked).await?;
        Ok(())
    }

    /// The state before `event_id` as `origin` tells it, its events stored and authorised.
    pub(super) async fn fetch_state_before(
        &self,
        origin: &str,
        version: RoomVersion,
        room_id: &str,
        event_id: &str,
    ) -> Result<State> {
        let ids =
            self.client.state_ids(origin, room_id, event_id).await.map_err(|error| super::remote_error(&error))?;
        let reader = self.rooms.reader(RoomKey::of(room_id));
        let mut missing: Vec<String> = Vec::new();
        for id in ids.pdu_ids.iter().chain(&ids.auth_chain_ids) {
            if reader.stored(EventKey::of(id))?.is_none() {
                missing.push(id.clone());
            }
        }
        let events = if missing.len() > MAX_SINGLE_FETCHES {
            let answer =
                self.client.state(origin, room_id, event_id).await.map_err(|error| super::remote_error(&error))?;
            answer.pdus.into_iter().chain(answer.auth_chain).collect()
        } else {
            let client = &self.client;
            futures::stream::iter(missing)
                .map(|id| async move { client.event(origin, &id).await.ok() })
                .buffer_unordered(CONCURRENT_FETCHES)
                .filter_map(std::future::ready)
                .collect()
                .await
        };
        let checked = self.check_all(origin, version, room_id, events).await;
        let fetched = self.store_outliers(room_id, checked).await?;
        let is_rejected = |id: &&str| fetched.get(&EventKey::of(id)).is_some_and(|(_, rejected)| *rejected);
        let kept = ids.pdu_ids.iter().map(String::as_str).filter(|id| !is_rejected(id));
        let state = self.state_of(room_id, kept)?;
        let reader = self.rooms.reader(RoomKey::of(room_id));
        let place = StateKeyId::of("m.room.create", "");
        let create = reader.head()?.map(|head| tree::get(&reader, head.root, place)).transpose()?.flatten();
        // Nothing is before the create event itself; before all others, it is.
        let begins_the_room = create == Some(EventKey::of(event_id));
        if !begins_the_room && create.is_some_and(|create| !state.contains(&(place, create))) {
            return Err(Error::new(
                502,
                "M_UNKNOWN",
                format!("{origin} tells a state before {event_id} that lacks the room's create event."),
            ));
        }
        self.lay_out(reader, &state).await?;
        Ok(state)
    }

    /// Writes the nodes of a told state beforehand where they are more than the batch can hold that is to refer to it.
    async fn lay_out(&self, reader: RoomReader, state: &State) -> Result<()> {
        let room = reader.room();
        let epoch = Epoch::read(reader.snapshot(), room)?;
        if state.len() < MANY || epoch.is_condemned() || epoch.is_removing() {
            return Ok(());
        }
        let (_, nodes) = tree::insert(&reader, Root::EMPTY, state)?;
        let absent = sweep::absent(&reader, nodes, &mut Batch::with_random_id(self.world()))?;
        drop(reader);
        // If a sweep comes between, whoever refers to them finds out what is left.
        self.write_nodes(room, &epoch, absent).await.map(drop)
    }

    /// A state from the ids of its events, which are stored; rejected ones have no part in it.
    ///
    /// # Errors
    /// 502 if one is not stored: a state with a hole is no state.
    pub(super) fn state_of<'a>(&self, room_id: &str, ids: impl Iterator<Item = &'a str>) -> Result<State> {
        let reader = self.rooms.reader(RoomKey::of(room_id));
        let mut state = BTreeMap::new();
        for id in ids {
            let key = EventKey::of(id);
            let Some(event) = reader.stored(key)? else {
                return Err(Error::new(
                    502,
                    "M_UNKNOWN",
                    format!("The other server names {id} in a state and cannot show it."),
                ));
            };
            if reader.standing(key)?.is_some_and(|standing| standing.is_rejected()) {
                continue;
            }
            if let Some(state_key) = event.state_key() {
                state.insert(StateKeyId::of(&event.event_type(), &state_key), key);
            }
        }
        Ok(state.into_iter().collect())
    }
}
