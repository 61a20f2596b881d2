//! `PUT /send/{txnId}`: a transaction.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{extract::State, response::Response, routing::put};
use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use serde::Deserialize;

use super::{Routes, Shared, reply, request::SignedTransaction};
use crate::{
    ApiError, Edu, RawJson,
    edu::ParsedEdu,
    limits::{
        MAX_EDUS, MAX_PDUS, MAX_REMEMBERED_ORIGINS, MAX_REMEMBERED_TRANSACTIONS, MAX_TRANSACTION_ID_BYTES,
        MAX_WAITING_TRANSACTIONS,
    },
};

/// How soon a peer that sends too many transactions at once may try again.
const RETRY_AFTER_MS: u64 = 1000;

pub(super) fn routes() -> Routes {
    Routes::new().route("/_matrix/federation/v1/send/{txnId}", put(send))
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    origin: Option<String>,
    /// Required, but some servers write `null` for an empty list.
    #[serde(default)]
    pdus: Option<Vec<RawJson>>,
    #[serde(default)]
    edus: Option<Vec<RawJson>>,
}

/// The transactions of each origin: one at a time, and the last ones answered.
pub(super) struct Transactions {
    origins: Mutex<LruCache<String, Arc<Origin>>>,
}

#[derive(Default)]
struct Origin {
    /// Held while a transaction is processed; the last ones by id, with what was answered.
    answered: tokio::sync::Mutex<VecDeque<(String, Bytes)>>,
    waiting: AtomicUsize,
}

/// One transaction's place in the queue of its origin.
struct Place(Arc<Origin>);

impl Default for Transactions {
    fn default() -> Self {
        let size = NonZeroUsize::new(MAX_REMEMBERED_ORIGINS).unwrap_or(NonZeroUsize::MIN);
        Self { origins: Mutex::new(LruCache::new(size)) }
    }
}

impl Transactions {
    fn place(&self, origin: &str) -> Result<Place, ApiError> {
        let state = self.origins.lock().get_or_insert(origin.to_owned(), Arc::default).clone();
        let before = state.waiting.fetch_add(1, Ordering::AcqRel);
        let place = Place(state);
        if before > MAX_WAITING_TRANSACTIONS {
            return Err(ApiError::limit_exceeded(
                "Too many of your transactions are being processed; send one after the other.",
                RETRY_AFTER_MS,
            ));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn send(State(shared): State<Arc<Shared>>, request: SignedTransaction) -> Result<Response, ApiError> {
    let origin = request.origin.clone();
    let txn_id = request.parameters.path("txnId")?.to_owned();
    if txn_id.len() > MAX_TRANSACTION_ID_BYTES {
        return Err(ApiError::invalid_param(format!(
            "The transaction id is longer than {MAX_TRANSACTION_ID_BYTES} bytes."
        )));
    }
    let body: Body = request.json()?;
    drop(request);
    let (pdus, edus) = read(&shared, &origin, body).inspect_err(|error| {
        shared.complaints.about(&origin, "transaction", error);
    })?;
    let place = shared.transactions.place(&origin)?;
    let world = shared.inbound.world.clone();
    // In a task of its own: that the peer hangs up must not stop it half way.
    let processed = world.spawn("transaction", async move {
        let place = place;
        let mut answered = place.0.answered.lock().await;
        if let Some((_, answer)) = answered.iter().find(|(known, _)| *known == txn_id) {
            return Ok(answer.clone());
        }
        let answer = shared.inbound.answers.transaction(&origin, &txn_id, pdus, edus).await?;
        let answer = Bytes::from(serde_json::to_vec(&answer).map_err(ApiError::internal)?);
        if answered.len() >= MAX_REMEMBERED_TRANSACTIONS {
            answered.pop_front();
        }
        answered.push_back((txn_id, answer.clone()));
        Ok(answer)
    });
    processed.await.map_err(ApiError::internal)?.map(reply::text)
}

fn read(shared: &Shared, origin: &str, body: Body) -> Result<(Vec<RawJson>, Vec<Edu>), ApiError> {
    if body.origin.is_some_and(|named| named != origin) {
        return Err(ApiError::bad_json(format!("`origin` of the transaction is not {origin}, which signed it.")));
    }
    let mut pdus = body.pdus.unwrap_or_default();
    let raw_edus = body.edus.unwrap_or_default();
    if pdus.len() > MAX_PDUS {
        return Err(ApiError::bad_json(format!(
            "The transaction has {} PDUs; at most {MAX_PDUS} may be sent.",
            pdus.len()
        )));
    }
    if raw_edus.len() > MAX_EDUS {
        return Err(ApiError::bad_json(format!(
            "The transaction has {} EDUs; at most {MAX_EDUS} may be sent.",
            raw_edus.len()
        )));
    }
    // What is not even an object has no event id under which it could be refused.
    pdus.retain(RawJson::is_object);
    let mut edus = Vec::with_capacity(raw_edus.len());
    for raw in &raw_edus {
        match Edu::parse(raw) {
            ParsedEdu::Known(edu) => edus.push(*edu),
            ParsedEdu::Unknown(_) => {}
            ParsedEdu::Malformed { because, .. } => shared.complaints.about(origin, "EDU", &because),
        }
    }
    Ok((pdus, edus))
}
