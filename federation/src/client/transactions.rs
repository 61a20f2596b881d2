//! Transactions and the server's version.

use bytes::Bytes;
use serde::Deserialize;

use super::{Client, Path, Request, RequestError, TRANSACTION_TIMEOUT};
use crate::{
    limits::MAX_ANSWER,
    types::{ServerVersion, TransactionAnswer},
};

impl Client {
    /// `PUT /send/{txnId}` with a whole transaction.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; the same transaction may be sent again under the same id.
    pub async fn send_transaction(
        &self,
        destination: &str,
        txn_id: &str,
        body: Bytes,
    ) -> Result<TransactionAnswer, RequestError> {
        let path = Path::new("/_matrix/federation/v1/send").segment(txn_id);
        let request = Request::put(path, body).timeout(TRANSACTION_TIMEOUT).limit(MAX_ANSWER);
        let answer = self.request(destination, request).await?;
        // Who says 200 and anything else than an object is no homeserver: a proxy with its page of the day, say.
        let account: serde_json::Map<String, serde_json::Value> = answer.json()?;
        // The transaction has been taken; an odd account of how each PDU fared does not change that.
        Ok(serde_json::from_value(account.into()).unwrap_or_default())
    }

    /// `GET /version`: what a server runs. Not signed.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn version(&self, destination: &str) -> Result<ServerVersion, RequestError> {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            server: ServerVersion,
        }
        let request = Request::get(Path::new("/_matrix/federation/v1/version")).unsigned();
        self.request(destination, request).await?.json::<Body>().map(|body| body.server)
    }
}
