//! Policy servers.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Client, Path, Request, RequestError};

impl Client {
    /// `POST /_matrix/policy/v1/sign`: asks a room's policy server to recommend an event, which is given as a PDU. Gives its signatures: by
    /// server name, by key id.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; a refusal is an answer with an error.
    pub async fn policy_sign(
        &self,
        destination: &str,
        event: Bytes,
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, RequestError> {
        let path = Path::new("/_matrix/policy/v1/sign");
        self.request(destination, Request::post(path, event)).await?.json()
    }
}
