//! Client-server API, "Room History Visibility", as it binds servers towards each other: every endpoint of federation that gives events
//! out, under every visibility, to a server whose users have every kind of past in the room.

use federation::{
    Client, RawJson,
    client::RequestError,
    types::{Direction, MissingEventsRequest},
};
use http::Method;
use serde_json::{Map, Value, json};
use simulation::{Network, User};
use std::{collections::BTreeMap, time::Duration};

const VISIBILITIES: [&str; 4] = ["world_readable", "shared", "invited", "joined"];

/// What happens to the server's users before each of the four messages, and after the last.
const PASTS: [(&str, [&str; 5]); 10] = [
    ("never there", ["", "", "", "", ""]),
    ("invited", ["", "invite", "", "", ""]),
    ("joined later", ["", "invite", "join", "", ""]),
    ("left", ["", "invite", "join", "leave", ""]),
    ("banned", ["", "invite", "join", "ban", ""]),
    ("came back", ["", "invite", "join", "leave", "join"]),
    ("joined at last", ["", "", "", "", "join"]),
    ("invited, then joined", ["", "invite", "", "", "join"]),
    ("another user of theirs there", ["another", "invite", "leave", "", ""]),
    ("another user of theirs there for a while", ["", "another", "another leaves", "", "join"]),
];

/// What the memberships of the server's users are at the four messages, and at the end.
fn walk(past: &[&str; 5]) -> Vec<[&'static str; 2]> {
    let mut now = ["leave", "leave"];
    past.iter()
        .map(|step| {
            match *step {
                "invite" => now[0] = "invite",
                "join" => now[0] = "join",
                "leave" => now[0] = "leave",
                "ban" => now[0] = "ban",
                "another" => now[1] = "join",
                "another leaves" => now[1] = "leave",
                _ => {}
            }
            now
        })
        .collect()
}

/// The rules, for a server that is in the room.
fn allowed(visibility: &str, memberships: [&str; 2]) -> bool {
    matches!(visibility, "world_readable" | "shared")
        || memberships.contains(&"join")
        || (visibility == "invited" && memberships.contains(&"invite"))
}

struct Stage<'a> {
    network: &'a Network,
    alice: User,
    bob: User,
    carol: User,
}

/// A room after a past: its id, its create event, and the ids of four topics, of four display names and of four messages.
struct Lived {
    room: String,
    create: String,
    topics: Vec<String>,
    names: Vec<String>,
    said: Vec<String>,
}

impl Stage<'_> {
    async fn alice(&self, method: Method, path: &str, body: Value) -> Value {
        self.network.server(0).call(method, path, &self.alice.token, &body).await.unwrap()
    }

    async fn settle(&self) {
        self.network.wait(Duration::from_secs(2)).await;
    }

    async fn live(&self, visibility: &str, past: &[&str; 5]) -> Lived {
        let state = json!([{
            "type": "m.room.history_visibility", "state_key": "", "content": { "history_visibility": visibility },
        }]);
        let body = json!({ "preset": "public_chat", "initial_state": state, "room_version": "10" });
        let made = self.alice(Method::POST, "/createRoom", body).await;
        let room = made["room_id"].as_str().unwrap().to_owned();
        let state = self.alice(Method::GET, &format!("/rooms/{room}/state"), Value::Null).await;
        let create = state.as_array().unwrap().iter().find(|event| event["type"] == "m.room.create").unwrap();
        let create = create["event_id"].as_str().unwrap().to_owned();
        let mut lived = Lived { room, create, topics: vec![], names: vec![], said: vec![] };
        let id = |answer: Value| answer["event_id"].as_str().unwrap().to_owned();
        for (index, step) in past.iter().enumerate() {
            self.step(&lived.room, step).await;
            if index == 4 {
                break;
            }
            let at = format!("/rooms/{}", lived.room);
            let topic = json!({ "topic": format!("topic {index}") });
            lived.topics.push(id(self.alice(Method::PUT, &format!("{at}/state/m.room.topic"), topic).await));
            let name = json!({ "membership": "join", "displayname": format!("alice {index}") });
            let path = format!("{at}/state/m.room.member/{}", self.alice.id);
            lived.names.push(id(self.alice(Method::PUT, &path, name).await));
            let message = json!({ "msgtype": "m.text", "body": format!("message {index}") });
            let path = format!("{at}/send/m.room.message/{index}");
            lived.said.push(id(self.alice(Method::PUT, &path, message).await));
        }
        self.settle().await;
        lived
    }

    async fn step(&self, room: &str, step: &str) {
        let theirs = self.network.server(1);
        let via = self.network.server(0).name();
        let (user, path) = match step {
            "invite" | "ban" => {
                self.alice(Method::POST, &format!("/rooms/{room}/{step}"), json!({ "user_id": self.bob.id })).await;
                self.settle().await;
                return;
            }
            "join" => (&self.bob, format!("/join/{room}?via={via}")),
            "leave" => (&self.bob, format!("/rooms/{room}/leave")),
            "another" => (&self.carol, format!("/join/{room}?via={via}")),
            "another leaves" => (&self.carol, format!("/rooms/{room}/leave")),
            _ => return,
        };
        theirs.call(Method::POST, &path, &user.token, &json!({})).await.unwrap();
        self.settle().await;
    }
}

fn object(raw: &RawJson) -> Map<String, Value> {
    raw.parse().unwrap()
}

/// Text in `content`, by event id as room versions from 4 on compute it.
fn texts(events: &[RawJson]) -> BTreeMap<String, Option<String>> {
    let version = "10".parse().unwrap();
    events
        .iter()
        .map(|raw| {
            let event = state_res::pdu::Pdu::parse(version, raw.as_bytes()).unwrap();
            let text = ["body", "topic", "displayname"].iter().find_map(|key| event.content().get(*key)?.as_str());
            (event.event_id().to_owned(), text.map(str::to_owned))
        })
        .collect()
}

fn refused<T>(answer: Result<T, RequestError>, about: &str) {
    let error = answer.err().unwrap_or_else(|| panic!("{about}: it is answered"));
    let peer = error.peer().unwrap_or_else(|| panic!("{about}: {error}"));
    assert_eq!((peer.status, peer.errcode.as_str()), (403, "M_FORBIDDEN"), "{about}: {error}");
}

async fn nothing_is_answered(client: &Client, to: &str, lived: &Lived, about: &str) {
    let event = &lived.said[2];
    refused(client.event(to, event).await, about);
    refused(client.backfill(to, &lived.room, &[event], 10).await, about);
    let request = MissingEventsRequest {
        limit: 10,
        min_depth: 0,
        earliest_events: vec![lived.create.clone()],
        latest_events: vec![event.clone()],
    };
    refused(client.missing_events(to, &lived.room, &request).await, about);
    refused(client.state(to, &lived.room, event).await, about);
    refused(client.state_ids(to, &lived.room, event).await, about);
    refused(client.event_auth(to, &lived.room, event).await, about);
    refused(client.event_at_time(to, &lived.room, 0, Direction::Forwards).await, about);
}

async fn what_is_allowed_is_shown(client: &Client, to: &str, lived: &Lived, visible: &[bool], about: &str) {
    let room = &lived.room;
    // State that still stands, the server gets in any case.
    let shows = |list: &[String], kind: &str, texts: &BTreeMap<String, Option<String>>, endpoint: &str| {
        for (index, id) in list.iter().enumerate() {
            let Some(text) = texts.get(id) else { continue };
            let whole = visible[index] || (kind != "message" && index == 3);
            let expected = whole.then(|| format!("{kind} {index}"));
            assert_eq!(*text, expected, "{about}: {kind} {index} in {endpoint}");
        }
    };
    let all = |texts: &BTreeMap<String, Option<String>>, endpoint: &str| {
        shows(&lived.said, "message", texts, endpoint);
        shows(&lived.topics, "topic", texts, endpoint);
        shows(&lived.names, "alice", texts, endpoint);
    };
    for id in lived.said.iter().chain(&lived.topics).chain(&lived.names) {
        let event = client.event(to, id).await.unwrap();
        all(&texts(&[event]), "event");
    }
    let last = lived.said[3].as_str();
    let backfilled = client.backfill(to, room, &[last], 100).await.unwrap();
    all(&texts(&backfilled), "backfill");
    let create = backfilled.iter().map(object).find(|event| event["type"] == "m.room.create").unwrap();
    assert_eq!(create["content"]["room_version"], "10", "{about}: what the rules need stays whole");
    let request = MissingEventsRequest {
        limit: 50,
        min_depth: 0,
        earliest_events: vec![lived.create.clone()],
        latest_events: vec![last.to_owned()],
    };
    let missing = texts(&client.missing_events(to, room, &request).await.unwrap());
    assert!(lived.said[..3].iter().all(|id| missing.contains_key(id)), "{about}: {missing:?}");
    all(&missing, "get_missing_events");

    for (index, id) in lived.said.iter().enumerate() {
        let state = client.state(to, room, id).await.unwrap();
        let ids = client.state_ids(to, room, id).await.unwrap();
        let found = texts(&state.pdus);
        assert!(found.len() == ids.pdu_ids.len() && ids.pdu_ids.iter().all(|id| found.contains_key(id)));
        let whole = visible[index] || index == 3;
        let expected = |kind: &str| whole.then(|| format!("{kind} {index}"));
        assert_eq!(found[&lived.topics[index]], expected("topic"), "{about}: state before message {index}");
        assert_eq!(found[&lived.names[index]], expected("alice"), "{about}: state before message {index}");
        let levels = state.pdus.iter().map(object).find(|event| event["type"] == "m.room.power_levels").unwrap();
        assert!(levels["content"]["invite"].is_i64(), "{about}: what the rules need stays whole: {levels:?}");
        all(&texts(&state.auth_chain), "the auth chain of state");
        all(&texts(&client.event_auth(to, room, id).await.unwrap()), "event_auth");
    }
    for (index, id) in lived.said.iter().enumerate() {
        let at = object(&client.event(to, id).await.unwrap())["origin_server_ts"].as_i64().unwrap();
        for direction in [Direction::Forwards, Direction::Backwards] {
            // Which one it is does not matter here; that it is not a hidden one does.
            let Ok(found) = client.event_at_time(to, room, at, direction).await else {
                assert!(!visible[index], "{about}: nothing found at message {index}");
                continue;
            };
            let hidden = [&lived.said, &lived.topics, &lived.names]
                .iter()
                .filter_map(|list| list.iter().position(|id| *id == found.event_id))
                .any(|index| !visible[index]);
            assert!(!hidden, "{about}: timestamp_to_event tells of {found:?}");
        }
    }
}

#[test]
fn every_endpoint_shows_servers_what_the_visibility_allows_and_nothing_else() {
    let network = Network::new(3, 2);
    let mut answered = 0;
    network
        .run(async {
            network.start_all().await.unwrap();
            let (one, two) = (network.server(0), network.server(1));
            let alice = one.register("alice").await.unwrap();
            let (bob, carol) = (two.register("bob").await.unwrap(), two.register("carol").await.unwrap());
            let stage = Stage { network: &network, alice, bob, carol };
            let services = two.services().unwrap();
            let client = services.peers.client();
            for visibility in VISIBILITIES {
                for (name, past) in &PASTS {
                    let about = format!("{visibility}, {name}");
                    let lived = stage.live(visibility, past).await;
                    let memberships = walk(past);
                    let visible: Vec<bool> = memberships[..4].iter().map(|at| allowed(visibility, *at)).collect();
                    if memberships[4].contains(&"join") {
                        what_is_allowed_is_shown(client, one.name(), &lived, &visible, &about).await;
                    } else {
                        nothing_is_answered(client, one.name(), &lived, &about).await;
                    }
                    answered += 1;
                }
            }
        })
        .unwrap();
    assert_eq!(answered, VISIBILITIES.len() * PASTS.len());
}

#[test]
fn a_change_of_visibility_is_shown_from_either_side() {
    let network = Network::new(4, 2);
    network
        .run(async {
            network.start_all().await.unwrap();
            let (one, two) = (network.server(0), network.server(1));
            let (alice, bob) = (one.register("alice").await.unwrap(), two.register("bob").await.unwrap());
            let body = json!({ "preset": "public_chat", "room_version": "10" });
            let made = one.call(Method::POST, "/createRoom", &alice.token, &body).await.unwrap();
            let room = made["room_id"].as_str().unwrap();
            let mut told = Vec::new();
            for (index, visibility) in ["joined", "shared"].into_iter().enumerate() {
                // Redaction takes `note` away.
                let content = json!({ "history_visibility": visibility, "note": "x" });
                let path = format!("/rooms/{room}/state/m.room.history_visibility");
                let changed = one.call(Method::PUT, &path, &alice.token, &content).await.unwrap();
                let message = json!({ "msgtype": "m.text", "body": "x" });
                let path = format!("/rooms/{room}/send/m.room.message/{index}");
                let said = one.call(Method::PUT, &path, &alice.token, &message).await.unwrap();
                told.extend([changed, said].map(|answer| answer["event_id"].as_str().unwrap().to_owned()));
            }
            let path = format!("/join/{room}?via={}", one.name());
            two.call(Method::POST, &path, &bob.token, &json!({})).await.unwrap();
            let services = two.services().unwrap();
            for (id, whole) in told.iter().zip([true, false, true, true]) {
                let event = object(&services.peers.client().event(one.name(), id).await.unwrap());
                let content = event["content"].as_object().unwrap();
                assert_eq!(content.contains_key("note") || content.contains_key("body"), whole, "{event:?}");
            }
        })
        .unwrap();
}
