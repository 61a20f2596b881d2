//! `causeway-state event`.

use serde_json::json;
use state_res::{
    hash,
    pdu::{MAX_PDU_TEXT_BYTES, PartialPdu},
    room_version::RoomVersion,
};

use crate::{
    failure::Failure,
    input::{self, Source},
    place::{self, Place},
};

/// What servers compute from an event.
pub(crate) fn run(file: &str, version: &str) -> Result<String, Failure> {
    let version: RoomVersion = version.parse().map_err(|error| Failure::of_file("--room-version", error))?;
    let bytes = input::read(file, MAX_PDU_TEXT_BYTES)?;
    let source = Source::new(file, &bytes)?;
    let text = source.root()?;
    let read = PartialPdu::parse(version, text.get().as_bytes())
        .map_err(|error| place::not_an_event(&source, version, &Place::new(text, ""), &error))?;
    let event = read.event();
    let content_hash = hash::encode(&read.content_hash());
    // Without `hashes` there is nothing to compare with.
    let matches =
        (!read.absent().contains(&"hashes")).then(|| hash::is_encoded(event.sent_content_hash(), &read.content_hash()));
    let report = json!({
        "canonical": read.whole_canonical(),
        "content_hash": content_hash,
        "content_hash_matches": matches,
        "reference_hash": hash::encode(&read.reference_hash()),
        "event_id": event.event_id(),
        "room_id": event.room_id(),
        "redacted": read.redacted_canonical(),
    });
    Ok(format!("{report:#}"))
}
