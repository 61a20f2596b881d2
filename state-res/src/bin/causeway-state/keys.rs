//! `--keys`: the servers' signing keys.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use state_res::{
    auth::{Membership, Refusal, check_authoriser_signature},
    pdu::Pdu,
    sign::{ContentHash, SignatureError, VerifyKey, compare_content_hash, verify_event, verify_event_by},
};

use crate::{
    failure::Failure,
    input::{self, Source, joined},
};

/// The longest file of keys that is read.
const MAX_KEYS_BYTES: usize = 64 << 20;

/// What is said of a file without any key.
const NO_KEYS: &str = "holds no ed25519 key: expected are keys by server and key id ({\"server.name\": {\"ed25519:1\": \"Base64\"}}), \
                       an answer of GET /_matrix/key/v2/server or an array of these, or one of POST /_matrix/key/v2/query";

/// Keys by server and key id.
#[derive(Default)]
pub(crate) struct Keys(BTreeMap<(String, String), Known>);

/// An event whose signatures hold.
pub(crate) struct Checked {
    pub(crate) event: Pdu,
    /// The rule that rejects it because the server has not signed whose user it says vouches for a restricted join.
    pub(crate) not_vouched: Option<Refusal>,
}

struct Known {
    key: VerifyKey,
    valid: Valid,
}

/// Up to when a key is valid, in milliseconds since the Unix epoch, that moment included.
#[derive(Clone, Copy)]
enum Valid {
    /// The file does not say.
    Ever,
    /// Its document may be relied on until then. Room versions 1 to 4 do not ask.
    Until(i64),
    /// Its server stopped using it then. It signs nothing later in any room version.
    Expired(i64),
}

impl Valid {
    /// Whether a key may have signed an event (server-server API, "Validating hashes and signatures on received events",
    /// and what room version 5 adds).
    fn covers(self, event: &Pdu) -> bool {
        match self {
            Valid::Ever => true,
            Valid::Until(until) => until >= event.origin_server_ts() || !event.version().rules().enforces_key_validity,
            Valid::Expired(at) => at >= event.origin_server_ts(),
        }
    }
}

impl Keys {
    /// Reads a file of keys, in any of these forms:
    ///
    /// - `{"server.name": {"ed25519:1": "Base64"}}`;
    /// - what `GET /_matrix/key/v2/server` answers, or an array of such objects;
    /// - what `POST /_matrix/key/v2/query` answers, `{"server_keys": […]}`.
    ///
    /// The signatures of the objects are not looked at: the file is trusted. One that holds no key at all is none of these.
    pub(crate) fn read(file: &str) -> Result<Self, Failure> {
        let bytes = input::read(file, MAX_KEYS_BYTES)?;
        let source = Source::new(file, &bytes)?;
        let root = source.root()?;
        let mut keys = Keys::default();
        keys.add_all(&source, root)?;
        if keys.0.is_empty() {
            return Err(source.complain(root, "", NO_KEYS));
        }
        Ok(keys)
    }

    fn add_all<'a>(&mut self, source: &Source<'a>, root: &'a RawValue) -> Result<(), Failure> {
        if root.get().starts_with('[') {
            return self.add_documents(source, root, "");
        }
        let object = source.object(root, "")?;
        if let Some(list) = object.get("server_keys").filter(|list| list.get().starts_with('[')) {
            return self.add_documents(source, list, "server_keys");
        }
        if object.contains_key("verify_keys") {
            return self.add_document(source, root, "");
        }
        for (server, by_id) in object {
            for (key_id, text) in source.object(by_id, &server)? {
                self.add(source, &server, &key_id, text, Valid::Ever, &joined(&server, &key_id))?;
            }
        }
        Ok(())
    }

    /// Verifies the signatures that an event must have, and gives it, redacted if its content hash is wrong.
    ///
    /// Whether the server signed whose user vouches for a restricted join is a matter of the authorisation rules, which
    /// may not allow the event.
    pub(crate) fn check(&self, event: Pdu) -> Result<Checked, SignatureError> {
        let lookup = |server: &str, key_id: &str| {
            let known = self.0.get(&(server.to_owned(), key_id.to_owned()))?;
            known.valid.covers(&event).then(|| known.key.clone())
        };
        let vouched = check_authoriser_signature(&event, |server| verify_event_by(&event, server, lookup).is_ok());
        let content_hash = match &vouched {
            Ok(()) => verify_event(&event, lookup)?,
            Err(_) => {
                // That of the sender's server; but another may have sent a third-party invite.
                if !event.content().contains_key("third_party_invite")
                    || Membership::in_content(event.content()) != Membership::Invite
                {
                    verify_event_by(&event, event.sender_server(), lookup)?;
                }
                compare_content_hash(&event)
            }
        };
        let event = match content_hash {
            ContentHash::Matches => event,
            ContentHash::Differs => event.redacted(),
        };
        Ok(Checked { event, not_vouched: vouched.err() })
    }

    fn add_documents<'a>(&mut self, source: &Source<'a>, list: &'a RawValue, path: &str) -> Result<(), Failure> {
        for (at, document) in source.array(list, path)?.into_iter().enumerate() {
            self.add_document(source, document, &format!("{path}[{at}]"))?;
        }
        Ok(())
    }

    fn add_document<'a>(&mut self, source: &Source<'a>, document: &'a RawValue, path: &str) -> Result<(), Failure> {
        let object = source.object(document, path)?;
        let needed = |name: &str| {
            object.get(name).copied().ok_or_else(|| source.complain(document, path, format!("has no `{name}`")))
        };
        let server = source.string(needed("server_name")?, || joined(path, "server_name"))?;
        let until = integer(source, needed("valid_until_ts")?, &joined(path, "valid_until_ts"))?;
        for (list, expiry) in [("verify_keys", None), ("old_verify_keys", Some("expired_ts"))] {
            let Some(by_id) = object.get(list) else { continue };
            let path = joined(path, list);
            for (key_id, entry) in source.object(by_id, &path)? {
                let path = joined(&path, &key_id);
                let members = source.object(entry, &path)?;
                let member = |name: &str| {
                    members.get(name).copied().ok_or_else(|| source.complain(entry, &path, format!("has no `{name}`")))
                };
                let valid = match expiry {
                    None => Valid::Until(until),
                    Some(expiry) => Valid::Expired(integer(source, member(expiry)?, &joined(&path, expiry))?),
                };
                self.add(source, &server, &key_id, member("key")?, valid, &joined(&path, "key"))?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        source: &Source<'_>,
        server: &str,
        key_id: &str,
        text: &RawValue,
        valid: Valid,
        path: &str,
    ) -> Result<(), Failure> {
        // Other algorithms may be listed; nothing is signed by them.
        if !key_id.starts_with("ed25519:") {
            return Ok(());
        }
        let base64 = source.string(text, || path.to_owned())?;
        let key = VerifyKey::from_base64(&base64).map_err(|error| source.complain(text, path, error))?;
        self.0.insert((server.to_owned(), key_id.to_owned()), Known { key, valid });
        Ok(())
    }
}

fn integer(source: &Source<'_>, text: &RawValue, path: &str) -> Result<i64, Failure> {
    text.get().parse().map_err(|_| source.complain(text, path, "must be an integer"))
}
