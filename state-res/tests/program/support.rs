//! Running the program, and rooms to run it on.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::{Map, Value, json};
use state_res::{
    hash,
    pdu::Pdu,
    room_version::{EventIdFormat, RoomVersion},
    sign::{SigningKey, hash_and_sign_event},
};

/// Runs the program with this on its standard input.
pub fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_causeway-state"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // It may end without reading all of it, and it may write before it has read all.
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    })
}

/// The JSON that it answers with, and nothing on standard error.
pub fn answer(arguments: &[&str], input: &Value) -> Value {
    let output = run(arguments, &serde_json::to_vec(input).unwrap());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {complaint}");
    assert!(output.stderr.is_empty(), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What it says about broken input: status 2, nothing on standard output.
pub fn complaint(arguments: &[&str], input: &[u8]) -> String {
    let output = run(arguments, input);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
    assert!(output.stdout.is_empty(), "{arguments:?} answers what it refuses");
    assert!(complaint.starts_with("causeway-state: "), "{complaint}");
    complaint
}

/// A file with this content, for the time of the tests.
pub fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    path
}

/// The key of a server, made of its name.
pub fn key_of(server: &str) -> SigningKey {
    let mut seed = [7; 32];
    for (byte, of) in seed.iter_mut().zip(server.bytes()) {
        *byte = of;
    }
    SigningKey::from_seed("k1", seed).unwrap()
}

/// A room in the making.
pub struct Room {
    pub version: RoomVersion,
    pub events: Vec<Value>,
    pub ids: Vec<String>,
    pub room_id: String,
    /// Whether events get hashes and signatures.
    signed: bool,
}

pub const ALICE: &str = "@alice:a";
pub const BOB: &str = "@bob:b";
pub const CAROL: &str = "@carol:c";

impl Room {
    /// A room with a create event by Alice, whose id is the first of `ids`.
    pub fn new(version: RoomVersion, signed: bool) -> Self {
        let mut room = Room { version, events: Vec::new(), ids: Vec::new(), room_id: "!room:a".to_owned(), signed };
        let mut content = json!({ "room_version": version.as_str() });
        if version.rules().auth.creator_in_content {
            content["creator"] = json!(ALICE);
        }
        let create = room.add("m.room.create", Some(""), ALICE, content, &[], &[]);
        if version.rules().create_event_is_room_id {
            room.room_id = format!("!{}", &create[1..]);
        }
        room
    }

    /// The id of the create event where it belongs into `auth_events`.
    fn create(&self) -> Option<&String> {
        self.ids.first().filter(|_| self.version.rules().auth.create_in_auth_events)
    }

    /// Adds an event after these others, allowed by the create event and `auth`.
    pub fn add(
        &mut self,
        event_type: &str,
        state_key: Option<&str>,
        sender: &str,
        content: Value,
        prev: &[&str],
        auth: &[&str],
    ) -> String {
        let number = self.events.len();
        let auth: Vec<&str> = self.create().map(String::as_str).into_iter().chain(auth.iter().copied()).collect();
        let mut event = json!({
            "type": event_type,
            "sender": sender,
            "content": content,
            "depth": number + 1,
            "origin_server_ts": 1_000 + number,
            "prev_events": self.references(prev),
            "auth_events": self.references(&auth),
        });
        if let Some(state_key) = state_key {
            event["state_key"] = json!(state_key);
        }
        if number > 0 || !self.version.rules().create_event_is_room_id {
            event["room_id"] = json!(self.room_id);
        }
        let server = sender.split_once(':').unwrap().1;
        if self.version.rules().event_id == EventIdFormat::Sent {
            event["event_id"] = json!(format!("$e{number}:{server}"));
        }
        self.push(event)
    }

    /// Adds an event as it is, but for hashes and signatures.
    pub fn push(&mut self, event: Value) -> String {
        let mut event = event.as_object().unwrap().clone();
        if self.signed {
            let server = event["sender"].as_str().unwrap().split_once(':').unwrap().1.to_owned();
            hash_and_sign_event(self.version, &mut event, &server, &key_of(&server)).unwrap();
        }
        let id = id_of(self.version, &event);
        self.events.push(Value::Object(event));
        self.ids.push(id.clone());
        id
    }

    pub fn references(&self, ids: &[&str]) -> Value {
        if self.version.rules().references_carry_hashes() {
            ids.iter().map(|id| json!([id, {}])).collect()
        } else {
            json!(ids)
        }
    }

    /// The file, with these states.
    pub fn file(&self, states: &[&[&str]]) -> Value {
        json!({ "room_version": self.version.as_str(), "events": self.events, "state_sets": states })
    }

    pub fn index(&self, id: &str) -> usize {
        self.ids.iter().position(|of| of == id).unwrap()
    }
}

/// The id of an event that may lack hashes and signatures.
pub fn id_of(version: RoomVersion, event: &Map<String, Value>) -> String {
    let hash = hash::encode(&hash::reference_hash(version, event).unwrap());
    match version.rules().event_id {
        EventIdFormat::Sent => event["event_id"].as_str().unwrap().to_owned(),
        EventIdFormat::Base64Hash => format!("${hash}"),
        EventIdFormat::UrlSafeBase64Hash => format!("${}", hash.replace('+', "-").replace('/', "_")),
    }
}

/// A room in which Alice bans Carol and sets the topic while Bob, who has not heard of that, sets the topic as well.
pub struct Duel {
    pub room: Room,
    /// Create event, Alice's join, power levels, join rules, Bob's join.
    pub common: Vec<String>,
    pub carol_joins: String,
    pub carol_is_banned: String,
    pub topic_of_bob: String,
    pub topic_of_alice: String,
}

impl Duel {
    pub fn new(version: RoomVersion, signed: bool) -> Self {
        let mut room = Room::new(version, signed);
        let create = room.ids[0].clone();
        let joined = || json!({ "membership": "join" });
        let alice = room.add("m.room.member", Some(ALICE), ALICE, joined(), &[&create], &[]);
        let mut users = json!({ BOB: 50 });
        if !version.rules().auth.privileged_creators {
            users[ALICE] = json!(100);
        }
        let power = room.add("m.room.power_levels", Some(""), ALICE, json!({ "users": users }), &[&alice], &[&alice]);
        let rules = room.add(
            "m.room.join_rules",
            Some(""),
            ALICE,
            json!({ "join_rule": "public" }),
            &[&power],
            &[&alice, &power],
        );
        let bob = room.add("m.room.member", Some(BOB), BOB, joined(), &[&rules], &[&power, &rules]);
        let carol_joins = room.add("m.room.member", Some(CAROL), CAROL, joined(), &[&bob], &[&power, &rules]);
        let carol_is_banned = room.add(
            "m.room.member",
            Some(CAROL),
            ALICE,
            json!({ "membership": "ban" }),
            &[&carol_joins],
            &[&power, &alice, &carol_joins],
        );
        let topic = |topic: &str| json!({ "topic": topic });
        let topic_of_bob = room.add("m.room.topic", Some(""), BOB, topic("bob's"), &[&carol_joins], &[&power, &bob]);
        let topic_of_alice =
            room.add("m.room.topic", Some(""), ALICE, topic("alice's"), &[&carol_is_banned], &[&power, &alice]);
        let common = vec![create, alice, power, rules, bob];
        Duel { room, common, carol_joins, carol_is_banned, topic_of_bob, topic_of_alice }
    }

    /// The states after both.
    pub fn states(&self) -> [Vec<&str>; 2] {
        self.with_each([[&self.carol_is_banned, &self.topic_of_alice], [&self.carol_joins, &self.topic_of_bob]])
    }

    fn with_each<'a>(&'a self, own: [[&'a String; 2]; 2]) -> [Vec<&'a str>; 2] {
        own.map(|own| self.common.iter().chain(own).map(String::as_str).collect())
    }

    pub fn file(&self) -> Value {
        let [one, other] = self.states();
        self.room.file(&[&one, &other])
    }

    /// What every algorithm makes of it.
    pub fn resolution(&self) -> Value {
        let [create, alice, power, rules, bob] = self.common.as_slice() else { panic!("five") };
        json!([
            ["m.room.create", "", create],
            ["m.room.join_rules", "", rules],
            ["m.room.member", ALICE, alice],
            ["m.room.member", BOB, bob],
            ["m.room.member", CAROL, self.carol_is_banned],
            ["m.room.power_levels", "", power],
            ["m.room.topic", "", self.topic_of_alice],
        ])
    }
}

/// The library's reading of an event that lacks nothing.
pub fn pdu(version: RoomVersion, event: &Value) -> Pdu {
    Pdu::parse(version, &serde_json::to_vec(event).unwrap()).unwrap()
}
