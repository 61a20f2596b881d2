//! Our own keys, and the document in which we publish them.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use net::Timestamp;
use serde_json::{Map, Value, json};
use state_res::sign::{SigningKey, VerifyKey, sign_json};

use super::{KnownKey, ServerKeys};

/// How long what we publish is valid: long enough that others seldom ask, short enough that a stolen key is soon out of use.
pub const PUBLISHED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Who we are and what we sign with.
#[derive(Debug)]
pub struct OwnKeys {
    /// Our server name.
    pub server_name: String,
    /// What we sign with now.
    pub current: SigningKey,
    /// What we signed with before: events that have these signatures stay valid.
    pub old: Vec<OldKey>,
}

/// A key that we no longer use.
#[derive(Clone, Debug)]
pub struct OldKey {
    /// Its id, with the algorithm.
    pub key_id: String,
    /// Its public half.
    pub key: VerifyKey,
    /// When we stopped using it.
    pub expired_at: Timestamp,
}

impl OwnKeys {
    /// The document of `GET /_matrix/key/v2/server`, signed, valid for [`PUBLISHED_FOR`] from now.
    pub fn document(&self, now: Timestamp) -> Map<String, Value> {
        let key_id = self.current.key_id().to_owned();
        let mut verify_keys = Map::new();
        verify_keys.insert(key_id, json!({ "key": self.current.verify_key().to_base64() }));
        let mut old_verify_keys = Map::new();
        for old in &self.old {
            let published = json!({ "key": old.key.to_base64(), "expired_ts": old.expired_at.millis() });
            old_verify_keys.insert(old.key_id.clone(), published);
        }
        let mut document = Map::new();
        document.insert("server_name".to_owned(), self.server_name.clone().into());
        document.insert("verify_keys".to_owned(), verify_keys.into());
        document.insert("old_verify_keys".to_owned(), old_verify_keys.into());
        document.insert("valid_until_ts".to_owned(), now.plus(PUBLISHED_FOR).millis().into());
        self.sign(&mut document);
        document
    }

    /// Adds our signature to an object.
    pub fn sign(&self, object: &mut Map<String, Value>) {
        if let Err(error) = sign_json(object, &self.server_name, &self.current) {
            // Objects come from here, or have been verified, which takes the same canonical form.
            tracing::error!(%error, "cannot sign an object");
        }
    }

    /// The document's text.
    pub fn document_text(&self, now: Timestamp) -> Bytes {
        Value::Object(self.document(now)).to_string().into()
    }

    /// Our keys in the form in which other servers' are kept, to verify our own events.
    pub fn as_server_keys(&self) -> ServerKeys {
        let for_ever = Timestamp::from_millis(u64::MAX);
        let mut keys = BTreeMap::new();
        for old in &self.old {
            let known = KnownKey { key: old.key.clone(), valid_until: old.expired_at, is_old: true, has_expired: true };
            keys.insert(old.key_id.clone(), known);
        }
        let current =
            KnownKey { key: self.current.verify_key(), valid_until: for_ever, is_old: false, has_expired: false };
        keys.insert(self.current.key_id().to_owned(), current);
        ServerKeys { fetched_at: for_ever, valid_until: for_ever, keys, document: None }
    }
}
