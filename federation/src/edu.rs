//! Ephemeral data units: what servers tell each other that is not part of a room's history (server-server API, "EDUs").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::RawJson;

/// One EDU of a type that the specification knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "edu_type", content = "content")]
pub enum Edu {
    /// Someone began or stopped typing.
    #[serde(rename = "m.typing")]
    Typing(Typing),
    /// How far users have read.
    #[serde(rename = "m.receipt")]
    Receipt(Receipts),
    /// Who is online.
    #[serde(rename = "m.presence")]
    Presence(Presence),
    /// A device was added, changed or removed.
    #[serde(rename = "m.device_list_update")]
    DeviceListUpdate(DeviceListUpdate),
    /// Cross-signing keys changed.
    #[serde(rename = "m.signing_key_update")]
    SigningKeyUpdate(SigningKeyUpdate),
    /// Messages to single devices.
    #[serde(rename = "m.direct_to_device")]
    DirectToDevice(DirectToDevice),
}

/// What an EDU of a transaction turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum ParsedEdu {
    /// One that we know.
    Known(Box<Edu>),
    /// Of a type that we do not know, to be ignored.
    Unknown(String),
    /// Of a known type, but of another form than the specification gives it; ignored too.
    Malformed {
        /// Its type, if that could be read.
        edu_type: Option<String>,
        /// What is wrong with it.
        because: String,
    },
}

impl Edu {
    /// The types in [`Edu`].
    pub const TYPES: [&'static str; 6] =
        ["m.typing", "m.receipt", "m.presence", "m.device_list_update", "m.signing_key_update", "m.direct_to_device"];

    /// Reads one EDU of a transaction.
    pub fn parse(json: &RawJson) -> ParsedEdu {
        #[derive(Deserialize)]
        struct Head {
            edu_type: String,
        }
        let edu_type = match json.parse::<Head>() {
            Ok(head) => head.edu_type,
            Err(error) => {
                return ParsedEdu::Malformed { edu_type: None, because: error.to_string() };
            }
        };
        if !Self::TYPES.contains(&edu_type.as_str()) {
            return ParsedEdu::Unknown(edu_type);
        }
        match json.parse::<Self>() {
            Ok(edu) => ParsedEdu::Known(Box::new(edu)),
            Err(error) => ParsedEdu::Malformed { edu_type: Some(edu_type), because: error.to_string() },
        }
    }

    /// Its `edu_type`.
    pub fn edu_type(&self) -> &'static str {
        match self {
            Self::Typing(_) => "m.typing",
            Self::Receipt(_) => "m.receipt",
            Self::Presence(_) => "m.presence",
            Self::DeviceListUpdate(_) => "m.device_list_update",
            Self::SigningKeyUpdate(_) => "m.signing_key_update",
            Self::DirectToDevice(_) => "m.direct_to_device",
        }
    }

    /// It as JSON text, for a transaction or a durable queue.
    pub fn to_raw(&self) -> RawJson {
        RawJson::from_known(serde_json::to_vec(self).expect("string keys only, written to memory"))
    }
}

/// Content of `m.typing`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Typing {
    /// Where.
    pub room_id: String,
    /// Who.
    pub user_id: String,
    /// Whether they type now.
    pub typing: bool,
}

/// Content of `m.receipt`: for each room, for each receipt type (`m.read` is the only one so far), for each user, how far they read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Receipts(pub BTreeMap<String, BTreeMap<String, BTreeMap<String, Receipt>>>);

/// How far a user has read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The event; always one.
    pub event_ids: Vec<String>,
    /// When, and in which thread.
    pub data: ReceiptData,
}

/// Metadata of a receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReceiptData {
    /// When they read it, in milliseconds since the Unix epoch.
    pub ts: i64,
    /// The thread's root, or `main`; unthreaded if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
}

/// Content of `m.presence`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    /// News of one user each.
    pub push: Vec<PresenceUpdate>,
}

/// One user's presence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PresenceUpdate {
    /// Whose.
    pub user_id: String,
    /// `online`, `unavailable` or `offline`.
    pub presence: String,
    /// What they say they are doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_msg: Option<String>,
    /// Milliseconds since they last did something.
    pub last_active_ago: i64,
    /// Whether they are likely to be using their client.
    #[serde(default)]
    pub currently_active: bool,
}

/// Content of `m.device_list_update`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceListUpdate {
    /// Whose device.
    pub user_id: String,
    /// Which.
    pub device_id: String,
    /// Its name, if it has a public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_display_name: Option<String>,
    /// Number of this update in the user's sequence.
    pub stream_id: i64,
    /// Updates that this one follows; one that the receiver has not seen makes it ask for the whole list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prev_id: Vec<i64>,
    /// Whether the device is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
    /// Its identity keys, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Value>,
}

/// Content of `m.signing_key_update`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SigningKeyUpdate {
    /// Whose keys.
    pub user_id: String,
    /// The new master key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_key: Option<Value>,
    /// The new self-signing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_signing_key: Option<Value>,
}

/// Content of `m.direct_to_device`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirectToDevice {
    /// Who sends.
    pub sender: String,
    /// The messages' event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Unique, so that a message that comes twice counts once.
    pub message_id: String,
    /// For each user, for each device (or `*` for all of them), the content.
    pub messages: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn raw(text: &str) -> RawJson {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn known_types_survive_a_round_trip() {
        for text in [
            r#"{"edu_type":"m.typing","content":{"room_id":"!a:b","user_id":"@a:b","typing":true}}"#,
            r#"{"edu_type":"m.receipt","content":{"!a:b":{"m.read":{"@a:b":{"event_ids":["$e"],"data":{"ts":1,"thread_id":"main"}}}}}}"#,
            r#"{"edu_type":"m.presence","content":{"push":[{"user_id":"@a:b","presence":"online","last_active_ago":5,"currently_active":true}]}}"#,
            r#"{"edu_type":"m.device_list_update","content":{"user_id":"@a:b","device_id":"D","stream_id":6,"prev_id":[5]}}"#,
            r#"{"edu_type":"m.signing_key_update","content":{"user_id":"@a:b","master_key":{"keys":{}}}}"#,
            r#"{"edu_type":"m.direct_to_device","content":{"sender":"@a:b","type":"m.x","message_id":"1","messages":{"@c:d":{"*":{}}}}}"#,
        ] {
            let ParsedEdu::Known(edu) = Edu::parse(&raw(text)) else { unreachable!("{text}") };
            assert!(text.contains(edu.edu_type()));
            assert_eq!(String::from_utf8(edu.to_raw().as_bytes().to_vec()).unwrap(), text);
        }
    }

    #[test]
    fn unknown_and_malformed_ones_are_told_apart() {
        assert_eq!(Edu::parse(&raw(r#"{"edu_type":"org.x","content":7}"#)), ParsedEdu::Unknown("org.x".into()));
        assert!(matches!(Edu::parse(&raw("[]")), ParsedEdu::Malformed { edu_type: None, .. }));
        let typing = Edu::parse(&raw(r#"{"edu_type":"m.typing","content":{"room_id":7}}"#));
        assert!(matches!(typing, ParsedEdu::Malformed { edu_type: Some(_), .. }));
    }
}
