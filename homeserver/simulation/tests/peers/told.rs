//! A room of a peer's, of which it tells what a test says.

use crate::scene::Scene;
use http::Method;
use serde_json::{Map, Value, json};
use simulation::{Asked, Peer, PeerEvent, PeerRoom, Scripted};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The formats of events and their ids differ between these.
pub(crate) const VERSIONS: [&str; 4] = ["2", "6", "10", "12"];
pub(crate) const HOST: &str = "@host:peer.example";
pub(crate) const ALICE: &str = "@alice:s0.example";

/// What a lie is called, and whether it tells of state events of a type.
pub(crate) type Lie = (&'static str, fn(&str) -> bool);

/// By type and state key, ids of events.
pub(crate) type State = BTreeMap<(String, String), String>;

pub(crate) const LIES: [Lie; 3] = [
    ("nothing", |_| false),
    ("no create event", |kind| kind != "m.room.create"),
    ("no members", |kind| kind != "m.room.member"),
];

pub(crate) fn message(body: &str) -> Value {
    json!({ "msgtype": "m.text", "body": body })
}

pub(crate) fn answer(body: Value) -> Option<Scripted> {
    Some(Scripted { after: Duration::ZERO, answer: Some((200, body)) })
}

pub(crate) fn ids(state: &State, is_told: impl Fn(&str) -> bool) -> Vec<String> {
    state.iter().filter(|((kind, _), _)| is_told(kind)).map(|(_, id)| id.clone()).collect()
}

/// A room of the peer's, with its history.
pub(crate) struct History {
    pub(crate) room: PeerRoom,
    /// Each event with the state before it.
    pub(crate) events: Vec<(PeerEvent, State)>,
    /// Whether what is not told of the state is not in the auth chain either that goes with the answer to a join.
    pub(crate) hides_auth_chain: bool,
    /// Whether the template of a join names the host as who vouches for it.
    pub(crate) vouches: bool,
}

impl History {
    pub(crate) fn new(peer: &Peer, version: &str) -> Self {
        let room = PeerRoom {
            id: "!warren:peer.example".to_owned(),
            version: version.parse().unwrap(),
            state: BTreeMap::new(),
            tips: Vec::new(),
            depth: 1,
        };
        let mut history = Self { room, events: Vec::new(), hides_auth_chain: true, vouches: false };
        let mut content = json!({ "room_version": version });
        if version == "12" {
            let mut draft = peer.draft(&history.room, HOST, "m.room.create", Some(""), content);
            draft.remove("room_id");
            let create = peer.sign(history.room.version, draft);
            peer.show(&create);
            history.room.id = create.id.replacen('$', "!", 1);
            history.room.follow(&create);
            history.room.depth = 2;
            history.events.push((create, BTreeMap::new()));
        } else {
            content["creator"] = json!(HOST);
            history.add(peer, "m.room.create", Some(""), content);
        }
        history.add(peer, "m.room.member", Some(HOST), json!({ "membership": "join" }));
        history.add(peer, "m.room.join_rules", Some(""), json!({ "join_rule": "public" }));
        for nth in 0..8 {
            history.add(peer, "m.room.message", None, message(&nth.to_string()));
        }
        let levels = if version == "12" { json!({}) } else { json!({ HOST: 100 }) };
        history.add(peer, "m.room.power_levels", Some(""), json!({ "users": levels }));
        history.add(peer, "m.room.topic", Some(""), json!({ "topic": "carrots" }));
        history.add(peer, "m.room.message", None, message("last"));
        history
    }

    pub(crate) fn add(&mut self, peer: &Peer, event_type: &str, state_key: Option<&str>, content: Value) -> PeerEvent {
        self.by(peer, HOST, event_type, state_key, content)
    }

    pub(crate) fn by(
        &mut self,
        peer: &Peer,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> PeerEvent {
        let before = self.room.state.clone();
        let mut room = self.room.clone();
        // What cites the create event by the room's id does not cite it.
        if event_type != "m.room.create" && room.version.rules().create_event_is_room_id {
            room.state.remove(&("m.room.create".to_owned(), String::new()));
        }
        let event = peer.sign(room.version, peer.draft(&room, sender, event_type, state_key, content));
        peer.show(&event);
        self.room.follow(&event);
        self.events.push((event.clone(), before));
        event
    }

    /// The peer answers for the room: of each state it tells what `is_told` says, and it shows events as `shown` says.
    pub(crate) fn script(
        &self,
        peer: &Peer,
        is_told: impl Fn(&str) -> bool + Copy + Send + Sync + 'static,
        shown: impl Fn(&PeerEvent) -> Map<String, Value> + Send + Sync + 'static,
    ) -> Arc<AtomicUsize> {
        let mut content = json!({ "membership": "join" });
        if self.vouches {
            content["join_authorised_via_users_server"] = json!(HOST);
        }
        let mut draft = peer.draft(&self.room, ALICE, "m.room.member", Some(ALICE), content);
        draft.remove("origin_server_ts");
        let template = json!({ "room_version": self.room.version.as_str(), "event": draft });
        let (events, state) = (self.events.clone(), self.room.state.clone());
        let hides_auth_chain = self.hides_auth_chain;
        let asked_for_states = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked_for_states);
        peer.script(move |asked: &Asked| {
            let named = |id: &str| {
                let pairs = url::form_urlencoded::parse(asked.query.as_bytes());
                pairs.into_iter().any(|(_, value)| value == id)
            };
            let place = || events.iter().position(|(event, _)| named(&event.id));
            let told = |ids: Vec<String>| -> Vec<Value> {
                let known = events.iter().filter(|(event, _)| ids.contains(&event.id));
                known.map(|(event, _)| Value::Object(shown(event))).collect()
            };
            if asked.path.contains("/make_join/") {
                answer(template.clone())
            } else if asked.path.contains("/send_join/") {
                let told_state = told(ids(&state, is_told));
                let all = || events.iter().map(|(event, _)| Value::Object(shown(event))).collect();
                let auth_chain = if hides_auth_chain { told_state.clone() } else { all() };
                answer(json!({ "state": told_state, "auth_chain": auth_chain, "members_omitted": false }))
            } else if asked.path.contains("/backfill/") {
                let end = place().unwrap_or(events.len());
                let pdus: Vec<_> =
                    events[end.saturating_sub(4)..end].iter().rev().map(|(event, _)| shown(event)).collect();
                answer(json!({ "origin": "peer.example", "origin_server_ts": 1, "pdus": pdus }))
            } else if asked.path.contains("/state_ids/") {
                count.fetch_add(1, Ordering::Relaxed);
                let (_, before) = &events[place()?];
                answer(json!({ "pdu_ids": ids(before, is_told), "auth_chain_ids": ids(before, |_| true) }))
            } else {
                None
            }
        });
        asked_for_states
    }
}

pub(crate) fn whole(event: &PeerEvent) -> Map<String, Value> {
    event.json.clone()
}

pub(crate) fn with_another_topic(event: &PeerEvent) -> Map<String, Value> {
    let mut shown = event.json.clone();
    if shown["type"] == "m.room.topic" {
        shown.insert("content".into(), json!({ "topic": "turnips" }));
    }
    shown
}

/// All that Alice finds of the room's history, newest first.
pub(crate) async fn paged(scene: &Scene<'_>, room: &str) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    let mut from = String::new();
    for _ in 0..30 {
        let path = format!("/rooms/{room}/messages?dir=b&limit=5{from}");
        let page = scene.call(Method::GET, &path, Value::Null).await.unwrap();
        found.extend(page["chunk"].as_array().unwrap().iter().cloned());
        let Some(end) = page["end"].as_str() else { break };
        from = format!("&from={end}");
    }
    found
}
