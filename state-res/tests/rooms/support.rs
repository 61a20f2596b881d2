//! Events for tests, made of JSON. Their hashes and signatures are not looked at here.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Map, Value, json};
use state_res::{pdu::Pdu, room_version::RoomVersion};

/// An event of a room version. What `fields` leaves out gets a value that no rule minds.
pub fn pdu(version: RoomVersion, fields: Value) -> Pdu {
    let mut event = json!({
        "type": "m.room.message",
        "sender": "@alice:a",
        "room_id": "!room:a",
        "content": {},
        "depth": 1,
        "origin_server_ts": 1,
        "prev_events": ["$before:a"],
        "auth_events": [],
        "hashes": { "sha256": "" },
        "signatures": { "a": { "ed25519:1": "" } },
    });
    let object = event.as_object_mut().unwrap();
    for (name, value) in fields.as_object().unwrap() {
        if value == "absent" {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
    if version.rules().references_carry_hashes() {
        object.entry("event_id").or_insert_with(|| json!(format!("${}:a", unique())));
        for list in ["prev_events", "auth_events"] {
            if let Some(ids) = object.get_mut(list).and_then(Value::as_array_mut) {
                for id in ids {
                    *id = json!([id, { "sha256": "" }]);
                }
            }
        }
    } else {
        // Two events are never the same by chance.
        object.entry("nonce").or_insert_with(unique);
    }
    let json = serde_json::to_vec(&event).unwrap();
    Pdu::parse(version, &json).unwrap_or_else(|error| panic!("{error}: {event:#}"))
}

/// The id of some other room of server b.
pub fn other_room(version: RoomVersion) -> String {
    if version.rules().create_event_is_room_id { format!("!{}A", "B".repeat(42)) } else { "!other:b".to_owned() }
}

fn unique() -> Value {
    thread_local! {
        static NEXT: Cell<u64> = const { Cell::new(0) };
    }
    NEXT.set(NEXT.get() + 1);
    json!(NEXT.get().to_string())
}

/// A room of a version for hand-made cases: users @alice:a (its creator), @bob:b, @carol:a and whoever else is named.
pub struct Fixture {
    pub version: RoomVersion,
    pub create: Pdu,
}

impl Fixture {
    pub fn new(version: RoomVersion) -> Self {
        Fixture::with_create(version, json!({}))
    }

    /// A room whose create event has more in its content.
    pub fn with_create(version: RoomVersion, more: Value) -> Self {
        Fixture { version, create: create(version, more, json!({})) }
    }

    pub fn event(&self, fields: Value) -> Pdu {
        let mut fields = fields;
        let room_id = json!(self.create.room_id());
        fields.as_object_mut().unwrap().entry("room_id").or_insert(room_id);
        pdu(self.version, fields)
    }

    pub fn state(&self, event_type: &str, state_key: &str, sender: &str, content: Value) -> Pdu {
        self.event(json!({ "type": event_type, "state_key": state_key, "sender": sender, "content": content }))
    }

    /// `user`'s membership, set by themselves.
    pub fn member(&self, user: &str, membership: &str) -> Pdu {
        self.state("m.room.member", user, user, json!({ "membership": membership }))
    }

    /// A change of `target`'s membership by `sender`.
    pub fn change(&self, sender: &str, target: &str, membership: &str) -> Pdu {
        self.state("m.room.member", target, sender, json!({ "membership": membership }))
    }

    pub fn join_rule(&self, rule: &str) -> Pdu {
        self.state("m.room.join_rules", "", "@alice:a", json!({ "join_rule": rule }))
    }

    pub fn power(&self, sender: &str, content: Value) -> Pdu {
        self.state("m.room.power_levels", "", sender, content)
    }

    /// Create event, @alice:a joined, and these.
    pub fn room(&self, more: Vec<Pdu>) -> Vec<Pdu> {
        // The first of two for one place counts.
        let mut state = more;
        state.push(self.create.clone());
        state.push(self.member("@alice:a", "join"));
        state
    }
}

/// A create event by @alice:a.
pub fn create(version: RoomVersion, more_content: Value, more: Value) -> Pdu {
    let mut content = Map::new();
    content.insert("room_version".to_owned(), json!(version.as_str()));
    if version.rules().auth.creator_in_content {
        content.insert("creator".to_owned(), json!("@alice:a"));
    }
    for (name, value) in more_content.as_object().unwrap() {
        if value == "absent" {
            content.remove(name);
        } else {
            content.insert(name.clone(), value.clone());
        }
    }
    let mut fields = json!({ "type": "m.room.create", "state_key": "", "content": content, "prev_events": [] });
    let object = fields.as_object_mut().unwrap();
    if version.rules().create_event_is_room_id {
        object.insert("room_id".to_owned(), json!("absent"));
    }
    for (name, value) in more.as_object().unwrap() {
        object.insert(name.clone(), value.clone());
    }
    pdu(version, fields)
}

/// What `work` makes of each item, in their order, on as many threads as there are processors.
pub fn in_parallel<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(items.len());
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let run = || {
            let mut mine = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(at) else { return mine };
                mine.push((at, work(item)));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
