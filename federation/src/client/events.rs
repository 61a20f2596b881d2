//! Fetching events and state.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Client, Path, Request, RequestError, STATE_TIMEOUT};
use crate::{
    RawJson,
    limits::{MAX_ANSWER, MAX_EVENTS_ANSWER, MAX_STATE_ANSWER},
    types::{Direction, EventAtTime, MissingEventsRequest, StateAnswer, StateIds},
};

const V1: &str = "/_matrix/federation/v1";

#[derive(Deserialize)]
struct Pdus {
    #[serde(deserialize_with = "crate::crowded::pdus")]
    pdus: Vec<RawJson>,
}

impl Client {
    /// `GET /backfill`: the events `from` and what precedes them, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn backfill(
        &self,
        destination: &str,
        room_id: &str,
        from: &[&str],
        limit: usize,
    ) -> Result<Vec<RawJson>, RequestError> {
        let path = Path::new(V1).segment("backfill").segment(room_id);
        let path = path.queries("v", from.iter().copied()).query("limit", &limit.to_string());
        let answer = self.request(destination, Request::get(path).limit(MAX_EVENTS_ANSWER)).await?;
        let mut pdus = answer.json::<Pdus>()?.pdus;
        pdus.truncate(limit);
        Ok(pdus)
    }

    /// `POST /get_missing_events`: what lies between the latest and the earliest events.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn missing_events(
        &self,
        destination: &str,
        room_id: &str,
        request: &MissingEventsRequest,
    ) -> Result<Vec<RawJson>, RequestError> {
        #[derive(Deserialize)]
        struct Body {
            #[serde(deserialize_with = "crate::crowded::pdus")]
            events: Vec<RawJson>,
        }
        let path = Path::new(V1).segment("get_missing_events").segment(room_id);
        let answer = self.request(destination, Request::post(path, body(request)).limit(MAX_EVENTS_ANSWER)).await?;
        let mut events = answer.json::<Body>()?.events;
        events.truncate(usize::try_from(request.limit).unwrap_or(usize::MAX));
        Ok(events)
    }

    /// `GET /state`: the whole state before an event.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn state(&self, destination: &str, room_id: &str, event_id: &str) -> Result<StateAnswer, RequestError> {
        let path = Path::new(V1).segment("state").segment(room_id).query("event_id", event_id);
        let request = Request::get(path).timeout(STATE_TIMEOUT).limit(MAX_STATE_ANSWER);
        self.request(destination, request).await?.json()
    }

    /// `GET /state_ids`: the same as ids.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn state_ids(&self, destination: &str, room_id: &str, event_id: &str) -> Result<StateIds, RequestError> {
        let path = Path::new(V1).segment("state_ids").segment(room_id).query("event_id", event_id);
        let request = Request::get(path).timeout(STATE_TIMEOUT).limit(MAX_EVENTS_ANSWER);
        self.request(destination, request).await?.json()
    }

    /// `GET /event`: one event.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn event(&self, destination: &str, event_id: &str) -> Result<RawJson, RequestError> {
        let path = Path::new(V1).segment("event").segment(event_id);
        let answer = self.request(destination, Request::get(path).limit(MAX_ANSWER)).await?;
        let mut pdus = answer.json::<Pdus>()?.pdus.into_iter();
        match (pdus.next(), pdus.next()) {
            (Some(pdu), None) => Ok(pdu),
            _ => Err(answer.malformed("it has to have exactly one PDU")),
        }
    }

    /// `GET /event_auth`: the whole auth chain of an event.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn event_auth(
        &self,
        destination: &str,
        room_id: &str,
        event_id: &str,
    ) -> Result<Vec<RawJson>, RequestError> {
        #[derive(Deserialize)]
        struct Body {
            #[serde(deserialize_with = "crate::crowded::pdus")]
            auth_chain: Vec<RawJson>,
        }
        let path = Path::new(V1).segment("event_auth").segment(room_id).segment(event_id);
        let request = Request::get(path).timeout(STATE_TIMEOUT).limit(MAX_STATE_ANSWER);
        self.request(destination, request).await?.json::<Body>().map(|body| body.auth_chain)
    }

    /// `GET /timestamp_to_event`: the event nearest to `ts` (milliseconds since the Unix epoch) in this direction.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn event_at_time(
        &self,
        destination: &str,
        room_id: &str,
        ts: i64,
        direction: Direction,
    ) -> Result<EventAtTime, RequestError> {
        let path = Path::new(V1).segment("timestamp_to_event").segment(room_id);
        let path = path.query("ts", &ts.to_string()).query("dir", direction.as_str());
        self.request(destination, Request::get(path)).await?.json()
    }
}

/// A body of ours; it holds no floats and no maps with other keys than strings.
pub(super) fn body(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("writing to memory does not fail").into()
}
