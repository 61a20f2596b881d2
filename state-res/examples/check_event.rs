//! Asks the authorisation rules whether a room's state allows an event, and which rule says so.
//!
//! `cargo run -p state-res --example check_event`

use serde_json::{Map, Value, json};
use state_res::{
    auth::{Cited, check_auth_events, decide, state_needed},
    build::{EventFields, build},
    pdu::{Pdu, PduError},
    room_version::RoomVersion,
    sign::SigningKey,
};

const VERSION: RoomVersion = RoomVersion::V12;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A room: Alice made it and is in it, and it is public.
    let create = event("@alice:a", "m.room.create", Some(""), json!({ "room_version": "12" }), "", &[])?;
    let room = create.room_id().to_owned();
    let joined = json!({ "membership": "join" });
    let alice = event("@alice:a", "m.room.member", Some("@alice:a"), joined.clone(), &room, &[&create])?;
    let public = json!({ "join_rule": "public" });
    let rules = event("@alice:a", "m.room.join_rules", Some(""), public, &room, &[&alice])?;
    let state = vec![create.clone(), alice.clone(), rules.clone()];

    // Bob joins: the rules look at these places of the state, and allow it.
    let bob = event("@bob:b", "m.room.member", Some("@bob:b"), joined, &room, &[&rules])?;
    println!("for Bob's join the rules look at {:?}", state_needed(&bob));
    let allowed = decide(&bob, &state)?;
    println!("allowed by rule {}: {}", allowed.rule, allowed.says);

    // On receipt the list of auth events is checked first, once, without any state.
    let cited = [Cited { event: &rules, rejected: false }];
    check_auth_events(&bob, &cited, Some(Cited { event: &create, rejected: false }))?;

    // Carol is not in the room, and says something all the same.
    let hello = event("@carol:c", "m.room.message", None, json!({ "body": "hello" }), &room, &[&alice])?;
    match decide(&hello, &state) {
        Ok(_) => println!("Carol may speak"),
        Err(refusal) => println!("refused by rule {}: {}", refusal.rule, refusal.because),
    }
    Ok(())
}

/// An event by a server that signs with a key of its own.
fn event(
    sender: &str,
    event_type: &str,
    state_key: Option<&str>,
    content: Value,
    room_id: &str,
    prev: &[&Pdu],
) -> Result<Pdu, PduError> {
    let server = sender.split_once(':').map_or("", |(_, server)| server);
    let key = SigningKey::from_seed("1", [1; 32]).unwrap_or_else(|_| unreachable!("`1` is a key's version"));
    let fields = EventFields {
        event_type: event_type.to_owned(),
        state_key: state_key.map(str::to_owned),
        sender: sender.to_owned(),
        room_id: room_id.to_owned(),
        content: object(content),
        prev_events: prev.iter().map(|event| event.event_id().to_owned()).collect(),
        depth: 1,
        ..EventFields::default()
    };
    build(VERSION, fields, server, &key)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
