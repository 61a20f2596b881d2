//! Servers that lie about a room. Somebody has to be believed about what we have not seen; what they say must not do harm that lasts.

use crate::scene::{BOB, CAROL, DAN, Scene};
use http::Method;
use serde_json::{Map, Value, json};
use simulation::{Asked, Network, Peer, PeerEvent, PeerRoom, Scripted};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The formats of events and their ids differ between these.
const VERSIONS: [&str; 4] = ["2", "6", "10", "12"];
const HOST: &str = "@host:peer.example";
const ALICE: &str = "@alice:s0.example";

/// What a lie is called, and whether it tells of state events of a type.
type Lie = (&'static str, fn(&str) -> bool);

/// By type and state key, ids of events.
type State = BTreeMap<(String, String), String>;

const LIES: [Lie; 3] = [
    ("nothing", |_| false),
    ("no create event", |kind| kind != "m.room.create"),
    ("no members", |kind| kind != "m.room.member"),
];

fn message(body: &str) -> Value {
    json!({ "msgtype": "m.text", "body": body })
}

fn answer(body: Value) -> Option<Scripted> {
    Some(Scripted { after: Duration::ZERO, answer: Some((200, body)) })
}

fn ids(state: &State, is_told: impl Fn(&str) -> bool) -> Vec<String> {
    state.iter().filter(|((kind, _), _)| is_told(kind)).map(|(_, id)| id.clone()).collect()
}

// clause: P5
/// Whoever hands on an event of somebody else, and says what the state before it is, can keep it from us no longer than until its sender
/// hands it on.
#[test]
fn a_state_told_wrongly_condemns_no_event() {
    for version in VERSIONS {
        for (what, is_told) in LIES {
            let network = Network::new(91, 1);
            network
                .run(async {
                    let scene = Scene::begin(&network, version).await;
                    let room = scene.room().await;
                    let (other, mut theirs) = scene.dans_peer(&room).await;
                    let told = json!({ "pdu_ids": ids(&theirs.state, is_told), "auth_chain_ids": [] });
                    let first = other.event(&mut theirs, DAN, "m.room.message", None, message("first"));
                    let second = other.event(&mut theirs, DAN, "m.room.message", None, message("second"));
                    scene.peer.script(move |asked| match &asked.path {
                        path if path.contains("/get_missing_events/") => answer(json!({ "events": [] })),
                        path if path.contains("/state_ids/") => answer(told.clone()),
                        _ => None,
                    });
                    let case = format!("version {version}, {what} told");
                    scene.send(&[&second]).await.expect_err(&case);
                    assert!(scene.shown(&room, &second).await.is_none(), "{case}");

                    let third = other.event(&mut theirs, DAN, "m.room.message", None, message("third"));
                    let sent = [first, second, third];
                    let said = other.send(scene.server().name(), &sent).await.unwrap();
                    assert!(said.values().all(Option::is_none), "{case}: {said:?}");
                    for event in &sent {
                        assert!(scene.shown(&room, event).await.is_some(), "{case}");
                    }
                })
                .unwrap();
        }
    }
}

// clause: P5
/// Whoever names our newest event and one that nobody has, and says what the state after them is, cannot say what the room's state is.
#[test]
fn a_state_told_beside_our_own_does_not_replace_it() {
    for version in VERSIONS {
        let network = Network::new(95, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let mut room = scene.room().await;
                // Bob, of level 50, is made an ordinary member.
                let old = room.state.clone();
                let users = if version == "12" { json!({}) } else { json!({ ALICE: 100 }) };
                scene.act(&mut room, Method::PUT, "state/m.room.power_levels", json!({ "users": users })).await;
                let get = async |path: &str| {
                    scene.call(Method::GET, &format!("/rooms/{}/{path}", room.id), Value::Null).await.unwrap()
                };
                let (levels, members) = (get("state/m.room.power_levels").await, get("joined_members").await);

                let lies = [
                    ids(&old, |_| true),
                    ids(&room.state, |kind| kind != "m.room.power_levels"),
                    room.state.iter().filter(|((_, key), _)| key != ALICE).map(|(_, id)| id.clone()).collect(),
                ];
                for (nth, told) in lies.into_iter().enumerate() {
                    let mut beside = room.clone();
                    let invented = scene.peer.sign(
                        room.version,
                        scene.peer.draft(&room, BOB, "m.room.message", None, message(&format!("unseen {nth}"))),
                    );
                    beside.tips.push(invented.id.clone());
                    beside.depth += 2;
                    let told = json!({ "pdu_ids": told, "auth_chain_ids": [] });
                    scene.peer.script(move |asked| match &asked.path {
                        path if path.contains("/get_missing_events/") => answer(json!({ "events": [] })),
                        path if path.contains("/state_ids/") => answer(told.clone()),
                        _ => None,
                    });
                    let said = scene.peer.event(&mut beside, BOB, "m.room.message", None, message("hello"));
                    // Whether it is taken or not: what was settled stands.
                    let _ = scene.send(&[&said]).await;
                    scene.peer.no_script();
                    assert_eq!(get("state/m.room.power_levels").await, levels, "version {version}, lie {nth}");
                    assert_eq!(get("joined_members").await, members, "version {version}, lie {nth}");
                    let mut his = beside.clone();
                    his.state.clone_from(&old);
                    let topic = scene.peer.draft(&his, BOB, "m.room.topic", Some(""), json!({ "topic": "mine" }));
                    let topic = scene.peer.sign(room.version, topic);
                    let _ = scene.send(&[&topic]).await;
                    let path = format!("/rooms/{}/state/m.room.topic", room.id);
                    assert!(scene.call(Method::GET, &path, Value::Null).await.is_err(), "version {version}, lie {nth}");
                }
            })
            .unwrap();
    }
}

/// A room of the peer's, with its history.
struct History {
    room: PeerRoom,
    /// Each event with the state before it.
    events: Vec<(PeerEvent, State)>,
    /// Whether what is not told of the state is not in the auth chain either that goes with the answer to a join.
    hides_auth_chain: bool,
}

impl History {
    fn new(peer: &Peer, version: &str) -> Self {
        let room = PeerRoom {
            id: "!warren:peer.example".to_owned(),
            version: version.parse().unwrap(),
            state: BTreeMap::new(),
            tips: Vec::new(),
            depth: 1,
        };
        let mut history = Self { room, events: Vec::new(), hides_auth_chain: true };
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

    fn add(&mut self, peer: &Peer, event_type: &str, state_key: Option<&str>, content: Value) -> PeerEvent {
        self.by(peer, HOST, event_type, state_key, content)
    }

    fn by(
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
    fn script(
        &self,
        peer: &Peer,
        is_told: impl Fn(&str) -> bool + Copy + Send + Sync + 'static,
        shown: impl Fn(&PeerEvent) -> Map<String, Value> + Send + Sync + 'static,
    ) -> Arc<AtomicUsize> {
        let mut draft = peer.draft(&self.room, ALICE, "m.room.member", Some(ALICE), json!({ "membership": "join" }));
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

fn whole(event: &PeerEvent) -> Map<String, Value> {
    event.json.clone()
}

fn with_another_topic(event: &PeerEvent) -> Map<String, Value> {
    let mut shown = event.json.clone();
    if shown["type"] == "m.room.topic" {
        shown.insert("content".into(), json!({ "topic": "turnips" }));
    }
    shown
}

/// All that Alice finds of the room's history, newest first.
async fn paged(scene: &Scene<'_>, room: &str) -> Vec<Value> {
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

// clause: P3, P5
/// History that comes with a state that cannot have been there is left out, and comes when somebody tells the truth. What was known of the
/// room's present stands.
#[test]
fn history_told_wrongly_does_no_lasting_harm() {
    for version in VERSIONS {
        for (what, is_told) in LIES {
            let network = Network::new(92, 1);
            network
                .run(async {
                    let case = format!("version {version}, {what} told");
                    let scene = Scene::begin(&network, version).await;
                    let mut history = History::new(&scene.peer, version);
                    history.script(&scene.peer, |_| true, whole);
                    let room = history.room.id.clone();
                    scene.call(Method::POST, &format!("/join/{room}?via=peer.example"), json!({})).await.unwrap();

                    let asked = history.script(&scene.peer, is_told, whole);
                    assert_eq!(paged(&scene, &room).await.len(), 1, "{case}");
                    assert!(asked.load(Ordering::Relaxed) > 0, "{case}");

                    // It tells the truth, but of the topic's event it shows a copy with another content.
                    history.script(&scene.peer, |_| true, with_another_topic);
                    let found = paged(&scene, &room).await;
                    let all = history.events.iter().rev().map(|(event, _)| json!(event.id));
                    assert!(found.iter().skip(1).map(|event| event["event_id"].clone()).eq(all), "{case}: {found:#?}");
                    let topic = found.iter().find(|event| event["type"] == "m.room.topic").unwrap();
                    assert_eq!(topic["content"], json!({ "topic": "carrots" }), "{case}");
                    let path = format!("/rooms/{room}/state/m.room.topic");
                    assert_eq!(
                        scene.call(Method::GET, &path, Value::Null).await.unwrap()["topic"],
                        "carrots",
                        "{case}"
                    );

                    // And what cites the levels of now is allowed.
                    let next = history.add(&scene.peer, "m.room.message", None, message("next"));
                    scene.send(&[&next]).await.unwrap_or_else(|because| panic!("{case}: {because}"));
                    assert!(scene.shown(&history.room, &next).await.is_some(), "{case}");
                })
                .unwrap();
        }
    }
}

// clause: P4
/// Whoever lies in the answer to a join keeps nobody from joining through somebody else.
#[test]
fn a_join_answered_wrongly_bars_no_other() {
    for version in VERSIONS {
        for (what, is_told) in LIES {
            let network = Network::new(93, 1);
            network
                .run(async {
                    let case = format!("version {version}, {what} told");
                    let scene = Scene::begin(&network, version).await;
                    let history = History::new(&scene.peer, version);
                    let join = format!("/join/{}?via=peer.example", history.room.id);
                    // And where it is told, the topic is another.
                    history.script(&scene.peer, is_told, with_another_topic);
                    let refused = scene.call(Method::POST, &join, json!({})).await;
                    // A public room lets people in whoever its members are.
                    assert!(refused.is_err() || what == "no members", "{case}");
                    if refused.is_err() {
                        history.script(&scene.peer, |_| true, whole);
                        scene
                            .call(Method::POST, &join, json!({}))
                            .await
                            .unwrap_or_else(|error| panic!("{case}: {error}"));
                        let path = format!("/rooms/{}/state/m.room.topic", history.room.id);
                        let topic = scene.call(Method::GET, &path, Value::Null).await.unwrap();
                        assert_eq!(topic, json!({ "topic": "carrots" }), "{case}");
                    }
                })
                .unwrap();
        }
    }
}

// clause: P5
/// What was left out of the answer to a join condemns nobody's events, and is made up for by who is met next.
#[test]
fn what_a_join_was_not_told_is_found_out() {
    const GUEST: &str = "@guest:peer.example";
    for version in VERSIONS {
        for lie in ["m.room.power_levels", "m.room.member"] {
            let network = Network::new(96, 1);
            network
                .run(async {
                    let case = format!("version {version}, {lie} not told");
                    let scene = Scene::begin(&network, version).await;
                    let mut history = History::new(&scene.peer, version);
                    let by_guest = |history: &mut History, kind: &str, state_key: Option<&str>, content: Value| {
                        history.by(&scene.peer, GUEST, kind, state_key, content)
                    };
                    by_guest(&mut history, "m.room.member", Some(GUEST), json!({ "membership": "join" }));
                    let levels = if version == "12" { json!({ GUEST: 50 }) } else { json!({ HOST: 100, GUEST: 50 }) };
                    history.add(&scene.peer, "m.room.power_levels", Some(""), json!({ "users": levels }));
                    history.hides_auth_chain = false;
                    history.script(&scene.peer, move |kind| kind != lie, whole);
                    let join = format!("/join/{}?via=peer.example", history.room.id);
                    scene.call(Method::POST, &join, json!({})).await.unwrap_or_else(|error| panic!("{case}: {error}"));

                    let topic = by_guest(&mut history, "m.room.topic", Some(""), json!({ "topic": "beets" }));
                    history.script(&scene.peer, |_| true, whole);
                    // From somebody who does not say what the state is, it is left alone.
                    let bystander = network.peer("bystander.example");
                    bystander.send(scene.server().name(), std::slice::from_ref(&topic)).await.unwrap();
                    assert!(scene.shown(&history.room, &topic).await.is_none(), "{case}");
                    scene.send(&[&topic]).await.unwrap_or_else(|because| panic!("{case}: {because}"));
                    let next = by_guest(&mut history, "m.room.message", None, message("next"));
                    scene.send(&[&next]).await.unwrap_or_else(|because| panic!("{case}: {because}"));

                    let path = format!("/rooms/{}/state", history.room.id);
                    let state = scene.call(Method::GET, &path, Value::Null).await.unwrap();
                    for ((kind, key), id) in &history.room.state {
                        let found = state.as_array().unwrap().iter().any(|event| event["event_id"] == **id);
                        assert!(found, "{case}: {kind} {key} is not in {state:#}");
                    }
                })
                .unwrap();
        }
    }
}

// clause: P3
/// Who shows a spoilt server ACL in the answer to a join does not shut out those whom it lets in.
#[test]
fn a_spoilt_server_acl_that_comes_with_a_join_shuts_nobody_out() {
    for version in VERSIONS {
        let network = Network::new(100, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let mut history = History::new(&scene.peer, version);
                history.add(&scene.peer, "m.room.server_acl", Some(""), json!({ "allow": ["*"] }));
                history.hides_auth_chain = false;
                history.script(
                    &scene.peer,
                    |_| true,
                    |event| {
                        let mut shown = event.json.clone();
                        if shown["type"] == "m.room.server_acl" {
                            shown.insert("content".into(), json!({ "allow": ["*"], "deny": ["*"] }));
                        }
                        shown
                    },
                );
                let join = format!("/join/{}?via=peer.example", history.room.id);
                scene.call(Method::POST, &join, json!({})).await.unwrap();
                let next = history.add(&scene.peer, "m.room.message", None, message("next"));
                scene.send(&[&next]).await.unwrap_or_else(|because| panic!("version {version}: {because}"));
                assert!(scene.shown(&history.room, &next).await.is_some(), "version {version}");
            })
            .unwrap();
    }
}

// clause: P5
/// Who tells a state without some members, in a room that would not let them in again, throws nobody out.
#[test]
fn members_who_are_not_told_of_stay() {
    for version in VERSIONS {
        let network = Network::new(101, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let mut room = scene.room().await;
                let (other, mut theirs) = scene.dans_peer(&room).await;
                let rule =
                    scene.act(&mut room, Method::PUT, "state/m.room.join_rules", json!({ "join_rule": "invite" }));
                theirs.follow(&rule.await);
                let path = format!("/rooms/{}/joined_members", room.id);
                let members = scene.call(Method::GET, &path, Value::Null).await.unwrap();
                assert_eq!(members["joined"].as_object().unwrap().len(), 4);

                let mut beside = room.clone();
                let unseen = scene.peer.draft(&room, CAROL, "m.room.message", None, message("unseen"));
                beside.tips = vec![scene.peer.sign(room.version, unseen).id];
                // The rule that closed the room is told, and all were in it by then.
                let keeps = |kind: &str, key: &str| key == CAROL || kind != "m.room.member";
                let told = room.state.iter().filter(|((kind, key), _)| keeps(kind, key)).map(|(_, id)| id.clone());
                let told = json!({ "pdu_ids": told.collect::<Vec<_>>(), "auth_chain_ids": [] });
                scene.peer.script(move |asked| match &asked.path {
                    path if path.contains("/get_missing_events/") => answer(json!({ "events": [] })),
                    path if path.contains("/state_ids/") => answer(told.clone()),
                    _ => None,
                });
                let said = scene.peer.event(&mut beside, CAROL, "m.room.message", None, message("hello"));
                let _ = scene.send(&[&said]).await;
                let now = scene.call(Method::GET, &path, Value::Null).await.unwrap();
                assert_eq!(now, members, "version {version}");
                let said = other.event(&mut theirs, DAN, "m.room.message", None, message("still here"));
                other.send(scene.server().name(), std::slice::from_ref(&said)).await.unwrap();
                assert!(scene.shown(&room, &said).await.is_some(), "version {version}");
            })
            .unwrap();
    }
}

// clause: P5
/// A join that was answered with a state of long ago gives nobody power for longer than until somebody honest says something.
#[test]
fn an_old_state_told_to_a_join_is_found_out_by_what_others_cite() {
    const GUEST: &str = "@guest:peer.example";
    for version in VERSIONS {
        let network = Network::new(102, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let mut history = History::new(&scene.peer, version);
                history.hides_auth_chain = false;
                history.by(&scene.peer, GUEST, "m.room.member", Some(GUEST), json!({ "membership": "join" }));
                let levels = |guest: i64| {
                    let users =
                        if version == "12" { json!({ GUEST: guest }) } else { json!({ HOST: 100, GUEST: guest }) };
                    json!({ "users": users })
                };
                let old = history.add(&scene.peer, "m.room.power_levels", Some(""), levels(50));
                history.add(&scene.peer, "m.room.power_levels", Some(""), levels(0));
                let truth = history.room.state.clone();
                history.room.state.insert(("m.room.power_levels".into(), String::new()), old.id);
                history.script(&scene.peer, |_| true, whole);
                let join = format!("/join/{}?via=peer.example", history.room.id);
                scene.call(Method::POST, &join, json!({})).await.unwrap();
                history.room.state = truth;

                // The others have the join.
                let asked = scene.peer.asked();
                let sent = asked.iter().rfind(|asked| asked.path.contains("/send_join/")).unwrap();
                let raw = federation::RawJson::from_known(sent.body.to_string());
                let join = scene.peer.learn(history.room.version, &raw).unwrap();
                history.room.follow(&join);
                let name = history.add(&scene.peer, "m.room.name", Some(""), json!({ "name": "warren" }));
                history.script(&scene.peer, |_| true, whole);
                scene.send(&[&name]).await.unwrap_or_else(|because| panic!("version {version}: {because}"));
                let get = async |path: &str| {
                    scene.call(Method::GET, &format!("/rooms/{}/state/{path}", history.room.id), Value::Null).await
                };
                assert_eq!(get("m.room.power_levels").await.unwrap(), levels(0), "version {version}");
                assert_eq!(get("m.room.name").await.unwrap()["name"], "warren", "version {version}");
                let mut theirs = history.room.clone();
                let by_guest =
                    scene.peer.event(&mut theirs, GUEST, "m.room.topic", Some(""), json!({ "topic": "mine" }));
                scene.send(&[&by_guest]).await.unwrap_err();
                assert_eq!(get("m.room.topic").await.unwrap()["topic"], "carrots", "version {version}");
            })
            .unwrap();
    }
}

// clause: R2.2
/// Who once had the power to redact cannot use it, by way of older history, on what was said after they lost it.
#[test]
fn older_redactions_take_nothing_away_that_came_after_them() {
    const GUEST: &str = "@guest:elsewhere.example";
    for version in VERSIONS.into_iter().skip(1) {
        let network = Network::new(103, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let elsewhere = network.peer("elsewhere.example");
                let mut history = History::new(&scene.peer, version);
                history.hides_auth_chain = false;
                history.by(&elsewhere, GUEST, "m.room.member", Some(GUEST), json!({ "membership": "join" }));
                let levels = |guest: i64| {
                    let users =
                        if version == "12" { json!({ GUEST: guest }) } else { json!({ HOST: 100, GUEST: guest }) };
                    json!({ "users": users })
                };
                let before = history.add(&scene.peer, "m.room.message", None, message("before"));
                history.add(&scene.peer, "m.room.power_levels", Some(""), levels(50));
                let (then, place) = (history.room.clone(), history.events.len());
                history.add(&scene.peer, "m.room.power_levels", Some(""), levels(0));
                let after = history.add(&scene.peer, "m.room.message", None, message("after"));
                let redaction = |target: &PeerEvent| {
                    let mut room = then.clone();
                    if room.version.rules().create_event_is_room_id {
                        room.state.remove(&("m.room.create".to_owned(), String::new()));
                    }
                    let mut draft = elsewhere.draft(&room, GUEST, "m.room.redaction", None, json!({}));
                    if room.version.rules().redacts_in_content {
                        draft["content"]["redacts"] = json!(target.id);
                    } else {
                        draft.insert("redacts".into(), json!(target.id));
                    }
                    elsewhere.sign(room.version, draft)
                };
                for target in [&before, &after] {
                    history.events.insert(place, (redaction(target), then.state.clone()));
                }
                history.script(&scene.peer, |_| true, whole);
                let room = history.room.id.clone();
                scene.call(Method::POST, &format!("/join/{room}?via=peer.example"), json!({})).await.unwrap();
                let found = paged(&scene, &room).await;
                let content = |event: &PeerEvent| {
                    let found = found.iter().find(|one| one["event_id"] == *event.id);
                    found.unwrap_or_else(|| panic!("version {version}: {} is not in {found:#?}", event.id))["content"]
                        .clone()
                };
                assert_eq!(content(&before), json!({}), "version {version}");
                assert_eq!(content(&after), message("after"), "version {version}");

                // Nor by way of a gap that lies behind what it names.
                let live = history.add(&scene.peer, "m.room.message", None, message("live"));
                history.script(&scene.peer, |_| true, whole);
                scene.send(&[&live]).await.unwrap_or_else(|because| panic!("version {version}: {because}"));
                let unseen = scene.peer.draft(&history.room, HOST, "m.room.message", None, message("unseen"));
                history.room.tips = vec![scene.peer.sign(history.room.version, unseen).id];
                let behind = history.add(&scene.peer, "m.room.message", None, message("behind"));
                let state: Vec<String> = history.room.state.values().cloned().collect();
                let late = redaction(&live);
                scene.peer.script(move |asked| match &asked.path {
                    path if path.contains("/get_missing_events/") => answer(json!({ "events": [] })),
                    path if path.contains("/state_ids/") => answer(json!({ "pdu_ids": state, "auth_chain_ids": [] })),
                    path if path.contains("/backfill/") => {
                        answer(json!({ "origin": "peer.example", "origin_server_ts": 1, "pdus": [late.json] }))
                    }
                    _ => None,
                });
                scene.send(&[&behind]).await.unwrap_or_else(|because| panic!("version {version}: {because}"));
                let found = paged(&scene, &room).await;
                assert!(found.iter().filter(|event| event["type"] == "m.room.redaction").count() > 2, "{found:#?}");
                assert_eq!(scene.shown(&history.room, &live).await.unwrap()["content"], message("live"), "{version}");
            })
            .unwrap();
    }
}
