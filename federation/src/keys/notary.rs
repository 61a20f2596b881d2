//! Answering for others as a notary: their keys with our signature added.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use net::Timestamp;
use serde_json::{Map, Value};

use super::KeyRing;
use crate::ids::is_server_name;

/// The most servers that one question may be about.
pub const MAX_NOTARY_SERVERS: usize = 100;

/// How many servers are asked at once for the sake of one question.
const MAX_CONCURRENT: usize = 8;

impl KeyRing {
    /// The documents of these servers, signed by them and by us; each valid up to the time given with it, if its server can be asked.
    /// Servers of which nothing is known are left out. Bounded by [`MAX_NOTARY_SERVERS`].
    pub async fn notarise(&self, wanted: BTreeMap<String, Timestamp>) -> Vec<Map<String, Value>> {
        let wanted = wanted.into_iter().filter(|(server_name, _)| is_server_name(server_name)).take(MAX_NOTARY_SERVERS);
        let documents = stream::iter(wanted).map(|(server_name, until)| self.notarise_one(server_name, until));
        documents.buffered(MAX_CONCURRENT).collect::<Vec<_>>().await.into_iter().flatten().collect()
    }

    async fn notarise_one(&self, server_name: String, until: Timestamp) -> Option<Map<String, Value>> {
        if server_name == self.own().server_name {
            return Some(self.own().document(self.world().now()));
        }
        let keys = self.known(&server_name, until).await?;
        let mut document: Map<String, Value> = keys.document.as_ref()?.parse().ok()?;
        self.own().sign(&mut document);
        Some(document)
    }
}
