//! What waits for other servers, as rows of table `OUTBOX`, written in the same batch as what it announces.

use crate::tables;
use state_res::ids::EventKey;
use storage::{Batch, key};

/// The row names an event.
pub const PDU: u8 = 1;
/// The row holds an EDU's JSON.
pub const EDU: u8 = 2;

/// Queues a persisted event for `destination`; `ordinal` is the event's within the batch.
pub fn put_pdu(batch: &mut Batch, destination: &str, ordinal: u16, event: EventKey) {
    let mut value = vec![PDU];
    value.extend_from_slice(event.as_bytes());
    put(batch, destination, ordinal, value);
}

/// Queues an EDU that must not be lost (JSON text of `{"edu_type", "content"}`). Ordinals of EDUs are the caller's, distinct
/// within a batch and destination from those of its events.
pub fn put_edu(batch: &mut Batch, destination: &str, ordinal: u16, edu: &[u8]) {
    let mut value = vec![EDU];
    value.extend_from_slice(edu);
    put(batch, destination, ordinal, value);
}

fn put(batch: &mut Batch, destination: &str, ordinal: u16, value: Vec<u8>) {
    let key = key::Writer::new().str(destination).position_slot().u16(ordinal).finish_positioned();
    batch.put_at_position(tables::OUTBOX, key, value);
    batch.topic(topic());
}

/// Wakes whoever sends what waits.
#[must_use]
pub fn topic() -> storage::Topic {
    storage::Topic::of("outbox", b"")
}
