//! Server keys, from their owner or through a notary. Neither question is signed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::{Client, Path, Request, RequestError, events::body};
use crate::{
    RawJson,
    limits::{MAX_ANSWER, MAX_KEYS_ANSWER},
};

/// For each server, for each key wanted (none means all), the time in milliseconds up to which it should be valid.
pub type NotaryQuestion = BTreeMap<String, BTreeMap<String, u64>>;

impl Client {
    /// `GET /_matrix/key/v2/server`: the keys that a server publishes. What comes back is not verified.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn server_keys(&self, destination: &str) -> Result<RawJson, RequestError> {
        let request = Request::get(Path::new("/_matrix/key/v2/server")).unsigned().limit(MAX_KEYS_ANSWER);
        self.request(destination, request).await?.json()
    }

    /// `POST /_matrix/key/v2/query`: keys of other servers, as a notary knows them. What comes back is not verified.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn notary_keys(
        &self,
        destination: &str,
        question: &NotaryQuestion,
    ) -> Result<Vec<RawJson>, RequestError> {
        #[derive(Deserialize)]
        struct Body {
            server_keys: Vec<RawJson>,
        }
        let wanted: BTreeMap<_, BTreeMap<_, _>> = question
            .iter()
            .map(|(server, keys)| {
                (server, keys.iter().map(|(key, until)| (key, json!({ "minimum_valid_until_ts": until }))).collect())
            })
            .collect();
        let path = Path::new("/_matrix/key/v2/query");
        let request = Request::post(path, body(&json!({ "server_keys": wanted }))).unsigned().limit(MAX_ANSWER);
        self.request(destination, request).await?.json::<Body>().map(|body| body.server_keys)
    }
}
