//! Resolves two states: Alice bans Carol while Bob, who has not heard of it, sees her change her name.
//!
//! `cargo run -p state-res --example resolve_states`

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use serde_json::{Map, Value, json};
use state_res::{
    build::{EventFields, build},
    ids::{EventKey, StateKeyId},
    pdu::{Pdu, PduError},
    resolve::{Events, resolve},
    room_version::RoomVersion,
    sign::SigningKey,
    tree::{self, MemoryNodes, NodeHash, Nodes, Root},
};

const VERSION: RoomVersion = RoomVersion::V11;

/// Whatever keeps a room's events, and the nodes of its states. This one has them in memory; a store in a file or a
/// database says in `Error` what can go wrong with it.
#[derive(Default)]
struct Room {
    events: BTreeMap<EventKey, Pdu>,
    nodes: MemoryNodes,
}

impl Events for Room {
    type Error = Infallible;

    fn event(&self, key: EventKey) -> Result<Option<Pdu>, Infallible> {
        Ok(self.events.get(&key).cloned())
    }

    fn is_rejected(&self, _: EventKey) -> Result<bool, Infallible> {
        Ok(false)
    }
}

impl Nodes for Room {
    type Error = Infallible;
    type Bytes = Arc<[u8]>;

    fn node(&self, hash: &NodeHash) -> Result<Option<Arc<[u8]>>, Infallible> {
        self.nodes.node(hash)
    }
}

impl Room {
    /// The state `before` with this event in it.
    fn after(&mut self, before: Root, event: &Pdu) -> Result<Root, Box<dyn std::error::Error>> {
        let place = StateKeyId::of(event.event_type(), event.state_key().unwrap_or_default());
        let (root, new) = tree::insert(&self.nodes, before, &[(place, event.key())])?;
        // Only what differs is new; a store keeps it with whatever names the root.
        self.nodes.extend(new);
        self.events.insert(event.key(), event.clone());
        Ok(root)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut room = Room::default();
    let create = event("@alice:a", "m.room.create", "", json!({ "room_version": "11" }), 1, &[])?;
    let joined = |name: &str| json!({ "membership": "join", "displayname": name });
    let alice = event("@alice:a", "m.room.member", "@alice:a", joined("Alice"), 2, &[&create])?;
    let levels = json!({ "users": { "@alice:a": 100 } });
    let power = event("@alice:a", "m.room.power_levels", "", levels, 3, &[&create, &alice])?;
    let public = json!({ "join_rule": "public" });
    let rules = event("@alice:a", "m.room.join_rules", "", public, 4, &[&create, &alice, &power])?;
    let carol = event("@carol:c", "m.room.member", "@carol:c", joined("Carol"), 5, &[&create, &power, &rules])?;
    let mut common = Root::EMPTY;
    for event in [&create, &alice, &power, &rules, &carol] {
        common = room.after(common, event)?;
    }

    // Two branches.
    let banned = json!({ "membership": "ban" });
    let ban = event("@alice:a", "m.room.member", "@carol:c", banned, 6, &[&create, &power, &alice, &carol])?;
    let renamed =
        event("@carol:c", "m.room.member", "@carol:c", joined("Caroline"), 7, &[&create, &power, &rules, &carol])?;
    let one = room.after(common, &ban)?;
    let other = room.after(common, &renamed)?;

    let (resolved, new) = resolve(VERSION, &[one, other], &room)?;
    room.nodes.extend(new);
    for entry in tree::entries(&room, resolved) {
        let (_, key) = entry?;
        let event = &room.events[&key];
        println!("{} {:?}: {}", event.event_type(), event.state_key().unwrap_or_default(), event.event_id());
    }
    assert_eq!(resolved, one, "the ban stands");
    Ok(())
}

/// A state event, by a server that signs with a key of its own.
fn event(
    sender: &str,
    event_type: &str,
    state_key: &str,
    content: Value,
    at: i64,
    cited: &[&Pdu],
) -> Result<Pdu, PduError> {
    let server = sender.split_once(':').map_or("", |(_, server)| server);
    let key = SigningKey::from_seed("1", [1; 32]).unwrap_or_else(|_| unreachable!("`1` is a key's version"));
    let ids = || cited.iter().map(|event| event.event_id().to_owned()).collect();
    let fields = EventFields {
        event_type: event_type.to_owned(),
        state_key: Some(state_key.to_owned()),
        sender: sender.to_owned(),
        room_id: "!room:a".to_owned(),
        content: object(content),
        prev_events: ids(),
        auth_events: ids(),
        depth: at,
        origin_server_ts: at,
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
