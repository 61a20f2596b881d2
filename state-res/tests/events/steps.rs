//! The steps of an event's way into a room (server-server API, "Checks performed on receipt of a PDU").

use serde_json::{Map, Value, json};
use state_res::{
    build::EventFields,
    pdu::Pdu,
    room_version::RoomVersion,
    sign::{ContentHash, SignatureError},
    steps::{Checked, Received},
    switches::without,
};

use crate::{generate::event_json, key};

fn own(version: RoomVersion, event_type: &str, content: Value) -> Pdu {
    let Value::Object(content) = content else { panic!("an object") };
    let fields = EventFields {
        event_type: event_type.to_owned(),
        state_key: Some(String::new()),
        sender: "@alice:a.example".to_owned(),
        room_id: if version.number() >= 12 { format!("!{}", "r".repeat(43)) } else { "!r:a.example".to_owned() },
        content,
        depth: 1,
        origin_server_ts: 1,
        ..EventFields::default()
    };
    Checked::build(version, fields, "a.example", &key(1)).unwrap().into_event()
}

/// Checks 1, 2 and 3, in every version: dropped, dropped, redacted.
// clause: P1, P2, P3
#[test]
pub(crate) fn format_signatures_and_hash() {
    for version in RoomVersion::ALL {
        let event = own(version, "m.room.topic", json!({"topic": "x"}));
        let lookup = |_: &str, _: &str| Some(key(1).verify_key());

        // 1: is a valid event, otherwise it is dropped.
        Received::parse(version, b"{}").unwrap_err();
        // 2: passes signature checks, otherwise it is dropped.
        let received = Received::parse(version, event.canonical()).unwrap();
        assert_eq!(
            received.clone().check(|_, _| Some(key(2).verify_key())).unwrap_err(),
            SignatureError::Wrong { server: "a.example".to_owned(), key_id: "ed25519:k1".to_owned() }
        );
        let checked = received.check(lookup).unwrap();
        assert_eq!(checked.content_hash(), ContentHash::Matches);
        assert_eq!(checked.event(), &event);
        // 3: passes hash checks, otherwise it is redacted before being processed further.
        let changed = event.canonical_str().replace("\"topic\":\"x\"", "\"topic\":\"y\"");
        let checked = Received::parse(version, changed.as_bytes()).unwrap().check(lookup).unwrap();
        assert_eq!(checked.content_hash(), ContentHash::Differs);
        assert_eq!(checked.event().content(), &Map::new());
        assert_eq!(checked.event().event_id(), event.event_id());
    }
}

/// Checks 4 to 6: the authorisation rules decide, and give the event back with the rule when they do not allow it.
// clause: P4, P5, P6
#[test]
pub(crate) fn authorisation() {
    for version in RoomVersion::ALL {
        let content = if version.number() <= 10 { json!({"creator": "@alice:a.example"}) } else { json!({}) };
        let create = Checked::from_store(own(version, "m.room.create", content));
        let id = create.event().event_id().to_owned();
        let authorised = create.authorise(&Vec::<Pdu>::new()).unwrap();
        assert_eq!(authorised.into_event().event_id(), id);
        let topic = Checked::from_store(own(version, "m.room.topic", json!({})));
        let (topic, refusal) = topic.authorise(&Vec::<Pdu>::new()).unwrap_err();
        assert_eq!(topic.event().event_type(), "m.room.topic");
        assert!(!refusal.rule.is_empty() && !refusal.because.is_empty());
    }
}

/// A check, and whether an event that it should catch is caught.
type Probe = (&'static str, fn(RoomVersion) -> bool);

/// Every check on receipt that this crate makes is missed when it is not made: with the check each probe answers true,
/// without it false, and the others are as before.
// clause: P1, P2, P3
#[test]
pub(crate) fn each_check_is_noticed() {
    let probes: [Probe; 3] = [("P1", drops_bad_format), ("P2", drops_forged_signature), ("P3", redacts_wrong_hash)];
    println!("version  without  P1      P2      P3");
    for version in RoomVersion::ALL {
        assert!(probes.iter().all(|(_, holds)| holds(version)));
        for (off, _) in probes {
            let holds: Vec<bool> = probes.iter().map(|(_, holds)| without(off, || holds(version)).unwrap()).collect();
            let words: Vec<_> = holds.iter().map(|holds| if *holds { "holds" } else { "FAILS" }).collect();
            println!("{:>7}  {off:7}  {}", version.as_str(), words.join("   "));
            for ((check, _), holds) in probes.iter().zip(holds) {
                assert_eq!(holds, *check != off, "version {version}, without {off}: {check}");
            }
        }
    }
}

fn drops_bad_format(version: RoomVersion) -> bool {
    let sender = event_json(version, "X", None, "{}").replace("@alice:", "alice:");
    let long = event_json(version, &"x".repeat(256), None, "{}");
    let large = event_json(version, "X", None, &json!({"b": "x".repeat(65_536)}).to_string());
    let parents = event_json(version, "X", None, "{}");
    let mut parents: Map<String, Value> = serde_json::from_str(&parents).unwrap();
    let parent = parents["prev_events"][0].clone();
    parents.insert("prev_events".to_owned(), Value::Array(vec![parent; 21]));
    let bad = [sender, long, large, Value::Object(parents).to_string()];
    let dropped = bad.map(|json| Received::parse(version, json.as_bytes()).is_err());
    assert!(dropped.iter().all(|one| *one == dropped[0]), "{version}: {dropped:?}");
    dropped[0]
}

fn drops_forged_signature(version: RoomVersion) -> bool {
    let event = own(version, "m.room.topic", json!({"topic": "x"}));
    Received::new(event).check(|_, _| Some(key(2).verify_key())).is_err()
}

fn redacts_wrong_hash(version: RoomVersion) -> bool {
    let event = own(version, "m.room.topic", json!({"topic": "x"}));
    let changed = event.canonical_str().replace("\"topic\":\"x\"", "\"topic\":\"y\"");
    let received = Received::parse(version, changed.as_bytes()).unwrap();
    received.check(|_, _| Some(key(1).verify_key())).unwrap().event().content().is_empty()
}
