//! Signatures and hashes of events from other servers, many at once.

use super::Peers;
use crate::rooms::policy;
use federation::RawJson;
use federation::keys::{EventTime, KeyRequest};
use net::Timestamp;
use state_res::ids::RoomKey;
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use state_res::sign::required_signers;
use state_res::steps::{Checked, Received};
use std::collections::BTreeSet;

/// Events checked on one thread at a time.
const CHUNK: usize = 200;

impl Peers {
    /// Checks 1 to 3 on receipt of a PDU, for many events: format, signatures, hashes. What does not pass is dropped, and so is what bears the
    /// id of another room's event: in room versions 1 and 2 senders choose the ids, and an event is stored under its id alone.
    pub(super) async fn check_all(
        &self,
        from: &str,
        version: RoomVersion,
        room_id: &str,
        events: Vec<RawJson>,
    ) -> Vec<Checked> {
        let mut received = Vec::with_capacity(events.len());
        for json in events {
            match Received::parse(version, json.as_bytes()) {
                Ok(event) if event.event().room_id() == room_id => received.push(event),
                Ok(event) => tracing::debug!(event = event.event().event_id(), "dropped: it belongs to another room"),
                Err(error) => tracing::debug!(%error, "dropped: no valid event"),
            }
        }
        self.check_received(from, version, received).await
    }

    /// Whether another room has an event of this id.
    fn is_elsewhere(&self, event: &Pdu) -> bool {
        let room = RoomKey::of(event.room_id());
        let known = self.rooms.reader(room).stored_in_any_room(event.key());
        let elsewhere = known.is_ok_and(|known| known.is_some_and(|known| known.room() != room));
        if elsewhere {
            tracing::info!(
                event = event.event_id(),
                room = event.room_id(),
                "dropped: another room has an event of this id"
            );
        }
        elsewhere
    }

    /// Fetches the keys that it takes to check events, those of several servers at a time, so that checking one event after the other
    /// does not wait for one silent server after the other.
    pub(super) async fn fetch_keys_of<'a>(&self, events: impl Iterator<Item = &'a Received>) {
        let wanted: BTreeSet<KeyRequest> = events.flat_map(keys_of).collect();
        self.ring.for_events(wanted).await;
    }

    /// Checks 2 and 3 for one event.
    pub(super) async fn check_one(&self, from: &str, version: RoomVersion, event: Received) -> Option<Checked> {
        self.check_received(from, version, vec![event]).await.pop()
    }

    /// Checks 2 and 3 for many events that a server gave. What does not pass is dropped. Of what is stored already, or can be had whole from its
    /// sender's server, the better copy goes on.
    pub(super) async fn check_received(
        &self,
        from: &str,
        version: RoomVersion,
        received: Vec<Received>,
    ) -> Vec<Checked> {
        let checked = self.check_copies(received).await;
        self.whole(from, version, checked).await
    }

    /// The same, with nobody asked for better copies.
    pub(super) async fn check_copies(&self, mut received: Vec<Received>) -> Vec<Checked> {
        received.retain(|event| !self.is_elsewhere(event.event()));
        let wanted: BTreeSet<KeyRequest> = received.iter().flat_map(keys_of).collect();
        let keys = self.ring.for_events(wanted).await;
        let check = move |event: Received| {
            let at = at(&event);
            let id = event.event().event_id().to_owned();
            match event.check(|server, key_id| keys.get(server, key_id, at).filter(|_| key_id != policy::KEY_ID)) {
                Ok(checked) => Some(checked),
                Err(error) => {
                    tracing::debug!(event = %id, %error, "dropped: its signatures do not hold");
                    None
                }
            }
        };
        if received.len() <= 8 {
            return self.better_copies(received.into_iter().filter_map(check).collect()).await;
        }
        let check = std::sync::Arc::new(check);
        let mut chunks = Vec::new();
        let mut rest = received.into_iter().peekable();
        while rest.peek().is_some() {
            let chunk: Vec<Received> = rest.by_ref().take(CHUNK).collect();
            let check = std::sync::Arc::clone(&check);
            chunks.push(
                self.world().blocking(move || chunk.into_iter().filter_map(|event| check(event)).collect::<Vec<_>>()),
            );
        }
        let checked = futures::future::join_all(chunks).await.into_iter().flatten().collect();
        self.better_copies(checked).await
    }
}

/// The time at which the keys must have been valid (room version 5 and later), or not expired yet.
fn at(event: &Received) -> EventTime {
    let event = event.event();
    let ts = Timestamp::from_millis(u64::try_from(event.origin_server_ts()).unwrap_or(0));
    if event.version().rules().enforces_key_validity { EventTime::Within(ts) } else { EventTime::NotAfter(ts) }
}

fn keys_of(event: &Received) -> Vec<KeyRequest> {
    let Ok(signers) = required_signers(event.event()) else { return Vec::new() };
    event
        .event()
        .signatures()
        // The key of a policy server is nothing that servers publish, and says nothing of who sent an event.
        .filter(|(_, key_id, _)| key_id.starts_with("ed25519:") && key_id != policy::KEY_ID)
        .filter(|(server, _, _)| signers.contains(server))
        .map(|(server_name, key_id, _)| KeyRequest { server_name, key_id, at: at(event) })
        .collect()
}
