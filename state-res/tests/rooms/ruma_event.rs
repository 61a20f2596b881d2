//! An event of ours as `ruma-state-res` wants one. The benchmark of resolution in `services` takes this file too.

use std::sync::Arc;

use ruma_common::{MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use ruma_events::TimelineEventType;
use ruma_state_res::Event;
use serde_json::value::RawValue;
use state_res::pdu::Pdu;

/// An event with its strings parsed.
pub(crate) struct RumaEvent {
    pub(crate) event_id: OwnedEventId,
    pub(crate) room_id: Option<OwnedRoomId>,
    pub(crate) sender: OwnedUserId,
    pub(crate) ts: MilliSecondsSinceUnixEpoch,
    pub(crate) event_type: TimelineEventType,
    pub(crate) content: Box<RawValue>,
    pub(crate) state_key: Option<String>,
    pub(crate) prev_events: Vec<OwnedEventId>,
    pub(crate) auth_events: Vec<OwnedEventId>,
    pub(crate) redacts: Option<OwnedEventId>,
    pub(crate) rejected: bool,
}

impl RumaEvent {
    /// An event of ours, and whether it was rejected.
    pub(crate) fn new(event: &Pdu, rejected: bool) -> Arc<Self> {
        let id = |id: &str| <OwnedEventId>::try_from(id).unwrap();
        Arc::new(RumaEvent {
            event_id: id(event.event_id()),
            room_id: event.has_room_id().then(|| event.room_id().try_into().unwrap()),
            sender: event.sender().try_into().unwrap(),
            ts: MilliSecondsSinceUnixEpoch(event.origin_server_ts().try_into().unwrap()),
            event_type: event.event_type().into(),
            content: RawValue::from_string(String::from_utf8(event.content_json().to_vec()).unwrap()).unwrap(),
            state_key: event.state_key().map(str::to_owned),
            prev_events: event.prev_events().iter().map(|event| id(event)).collect(),
            auth_events: event.auth_events().iter().map(|event| id(event)).collect(),
            redacts: event.redacts().map(id),
            rejected,
        })
    }
}

impl Event for RumaEvent {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.event_id
    }

    fn room_id(&self) -> Option<&RoomId> {
        self.room_id.as_deref()
    }

    fn sender(&self) -> &UserId {
        &self.sender
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.ts
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.event_type
    }

    fn content(&self) -> &RawValue {
        &self.content
    }

    fn state_key(&self) -> Option<&str> {
        self.state_key.as_deref()
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.prev_events.iter())
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.auth_events.iter())
    }

    fn redacts(&self) -> Option<&OwnedEventId> {
        self.redacts.as_ref()
    }

    fn rejected(&self) -> bool {
        self.rejected
    }
}
