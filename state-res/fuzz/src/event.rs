//! Reading events.

use serde_json::{Map, Value, json};
use state_res::{
    hash,
    pdu::{MAX_PDU_BYTES, PartialPdu, Pdu, PduError},
    room_version::{EventIdFormat, RoomVersion},
};

use super::{bytes::Bytes, canonical_json::means_the_same, events::id_of};

/// A room version and any text: what is read is the same however it is written, and has the id that its hash gives.
pub fn event(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let version = bytes.version();
    let json = bytes.rest();
    let parsed = Pdu::parse(version, json);
    let partial = PartialPdu::parse(version, json);
    let event = match parsed {
        Ok(event) => event,
        Err(error) => {
            assert!(["M_NOT_JSON", "M_BAD_JSON", "M_TOO_LARGE"].contains(&error.errcode()));
            assert!(!error.to_string().is_empty());
            if let Ok(partial) = partial {
                // What the stricter reader refuses lacks something, or has a note that was left out.
                let had_note = matches!(error, PduError::TooLarge { .. });
                assert!(!partial.absent().is_empty() || had_note, "{error}");
                check_partial(&partial);
            }
            return;
        }
    };
    let partial = partial.expect("what the strict reader takes the other takes");
    assert!(partial.absent().is_empty());
    check_partial(&partial);
    check(version, &event, json);
}

fn check(version: RoomVersion, event: &Pdu, json: &[u8]) {
    assert_eq!(event.version(), version);
    assert!(event.canonical().len() <= MAX_PDU_BYTES);
    if let Some(id) = id_of(version, &event.reference_hash()) {
        assert_eq!(event.event_id(), id);
    }

    // The canonical form is the event.
    let again = Pdu::parse(version, event.canonical()).expect("the canonical form is an event");
    assert_same(event, &again);
    let stored = Pdu::from_stored(version, event.event_id(), event.canonical().to_vec()).expect("it was read before");
    assert_same(event, &stored);

    // What is unsigned is none of it.
    let mut unsigned = event.to_object();
    unsigned.insert("unsigned".to_owned(), json!({ "age": 1.5 }));
    if version.rules().strict_canonical_json {
        let unsigned = Pdu::from_value(version, &unsigned).expect("unsigned may hold what it likes");
        assert_same(event, &unsigned);
        // The functions over values say what those over text say.
        let object = event.to_object();
        assert_eq!(hash::content_hash(version, &object), Ok(event.content_hash()));
        assert_eq!(hash::reference_hash(version, &object), Ok(event.reference_hash()));
        let pretty = serde_json::to_vec_pretty(&object).expect("values can be written");
        assert_same(event, &Pdu::parse(version, &pretty).expect("white space changes nothing"));
    }

    // What it says of itself is what the text says, for another reader; but serde_json makes a float of `-0`.
    let has_negative_zero = json.windows(2).any(|two| two == b"-0");
    if let Some(read) = serde_json::from_slice::<Map<String, Value>>(json).ok().filter(|_| !has_negative_zero) {
        let text = |name: &str| read.get(name).and_then(Value::as_str);
        assert_eq!(text("type"), Some(event.event_type()));
        assert_eq!(text("sender"), Some(event.sender()));
        assert_eq!(text("state_key"), event.state_key());
        assert_eq!(event.is_state(), event.state_key().is_some());
        assert_eq!(text("room_id").is_some(), event.has_room_id());
        assert_eq!(read.get("depth").and_then(Value::as_i64), Some(event.depth()));
        assert_eq!(read.get("origin_server_ts").and_then(Value::as_i64), Some(event.origin_server_ts()));
        let content = Value::Object(event.content().clone());
        assert!(read.get("content").is_some_and(|read| means_the_same(read, &content)), "{content}");
        let ids = |name: &str| -> Vec<String> {
            let list = read.get(name).and_then(Value::as_array).into_iter().flatten();
            let pairs = version.rules().references_carry_hashes();
            list.filter_map(|of| if pairs { of.get(0) } else { Some(of) }.and_then(Value::as_str).map(str::to_owned))
                .collect()
        };
        assert_eq!(ids("prev_events"), event.prev_events());
        assert_eq!(ids("auth_events"), event.auth_events());
        let signatures: usize = read
            .get("signatures")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(_, by_key)| by_key.as_object().map_or(0, Map::len))
            .sum();
        assert_eq!(event.signatures().count(), signatures);
        assert_eq!(read.contains_key("unsigned"), event.unsigned().is_some());
    }
}

fn assert_same(event: &Pdu, other: &Pdu) {
    assert_eq!(event, other);
    assert_eq!(event.key(), other.key());
    assert_eq!(event.room_id(), other.room_id());
    assert_eq!(event.redacts(), other.redacts());
    assert_eq!(event.content(), other.content());
    assert_eq!(event.content_hash(), other.content_hash());
}

/// With what it lacks put in, hashes aside, an event is one.
fn check_partial(partial: &PartialPdu) {
    let event = partial.event();
    let version = event.version();
    let completed = Pdu::parse(version, event.canonical()).expect("completed, it is an event");
    if version.rules().event_id == EventIdFormat::Sent || partial.absent().is_empty() {
        assert_eq!(completed.event_id(), event.event_id());
    }
    if let Some(id) = id_of(version, &partial.reference_hash()) {
        assert_eq!(event.event_id(), id, "the id is that of what came");
    }
    let whole =
        PartialPdu::parse(version, partial.whole_canonical().as_bytes()).expect("with all it came with, it is one");
    assert_eq!(whole.event(), event);
    assert_eq!(whole.whole_canonical(), partial.whole_canonical());
    assert_eq!(whole.event().unsigned_json(), event.unsigned_json());
    let again = PartialPdu::parse(version, partial.canonical_str().as_bytes()).expect("its canonical form is one");
    assert_eq!(again.absent(), partial.absent());
    assert_eq!(again.event(), event);
    assert_eq!(again.content_hash(), partial.content_hash());
    let redacted = PartialPdu::parse(version, partial.redacted_canonical().as_bytes()).expect("redacted, it is one");
    assert_eq!(redacted.event().event_id(), event.event_id(), "redaction leaves the id");
}
